"""U-net that guesses a pressure."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.convolution import convolve
from physopt.networks.unet import initialize

WINDOW = 5
"""Cells of a convolution's window along each axis."""


class PressureUNet(nnx.Module):
    """U-net, divergence [batch, n, n] -> pressure [batch, n, n].

    Three 5 x 5 convolutions with ReLU at each level, of `features` channels; the third one keeps
    every other cell. The way up interpolates linearly and adds the second one's result as channels.
    Since pressure is linear in divergence, the input is divided by its standard deviation, and the
    output multiplied by it and by `scale`.

    Source: program of arXiv 2007.00016 (tum-pbs/CG-Solver-in-the-Loop), without `scale`.
    """

    def __init__(self, features: Sequence[int], scale: float, rngs: nnx.Rngs):
        *upper, bottom = features
        down = list(zip([1, *features], features, strict=False))
        up = [(below + own, own) for own, below in zip(upper, features[1:], strict=True)]
        self.down = nnx.List([Triple(inputs, own, rngs) for inputs, own in down])
        self.up = nnx.List([Triple(inputs, own, rngs) for inputs, own in up])
        self.exit = _convolution(upper[0] if upper else bottom, 1, rngs)
        self.scale = scale
        initialize(self, rngs, "glorot")

    def __call__(self, divergence: jax.Array) -> jax.Array:
        """Evaluate the network."""
        deviation = jnp.std(divergence, axis=(1, 2), keepdims=True)
        z = (divergence / jnp.where(deviation > 0, deviation, 1))[..., None]
        kept = []
        for block in list(self.down)[:-1]:
            kept.append(block.first_two(z))
            z = block.third(kept[-1])[:, 1::2, 1::2]
        z = self.down[-1](z)
        for block, skip in zip(reversed(list(self.up)), reversed(kept), strict=True):
            raised = jax.image.resize(z, (*skip.shape[:-1], z.shape[-1]), "linear")
            z = block(jnp.concatenate([raised, skip], axis=-1))
        return self.scale * deviation * self.exit(z)[..., 0]


class Triple(nnx.Module):
    """Three convolutions with ReLU."""

    def __init__(self, inputs: int, features: int, rngs: nnx.Rngs):
        channels = (inputs, features, features)
        self.convolutions = nnx.List([_convolution(c, features, rngs) for c in channels])

    def first_two(self, z: jax.Array) -> jax.Array:
        """Evaluate all but the last convolution."""
        for convolution in list(self.convolutions)[:2]:
            z = jax.nn.relu(convolution(z))
        return z

    def third(self, z: jax.Array) -> jax.Array:
        """Evaluate the last convolution."""
        return jax.nn.relu(self.convolutions[2](z))

    def __call__(self, z: jax.Array) -> jax.Array:
        """Evaluate all of them."""
        return self.third(self.first_two(z))


def _convolution(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Conv:
    # The weights are drawn by `initialize`.
    zeros = nnx.initializers.zeros_init()
    return nnx.Conv(
        inputs, outputs, (WINDOW, WINDOW), kernel_init=zeros, rngs=rngs,
        conv_general_dilated=convolve,
    )  # fmt: skip
