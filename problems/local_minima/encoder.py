"""Convolutional encoder: a network from signals on a line to a few numbers."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.convolution import convolve
from physopt.networks.unet import initialize

WIDTH = 5
"""Cells of a convolution's window."""


class Encoder(nnx.Module):
    """Signals [batch, points, channels] -> numbers [batch, outputs] between -1 and 1.

    Each layer convolves over 5 cells, applies ReLU and halves the line by max-pooling. A dense
    layer and tanh follow.
    """

    def __init__(
        self,
        points: int,
        channels: int,
        filters: Sequence[int],
        outputs: int,
        rngs: nnx.Rngs,
        *,
        periodic: bool = False,
    ):
        padding = "CIRCULAR" if periodic else "SAME"
        sizes = (channels, *filters)
        zeros = nnx.initializers.zeros_init()  # `initialize` draws all weights
        self.convolutions = nnx.List(
            [
                nnx.Conv(
                    m, n, (WIDTH,), padding=padding, kernel_init=zeros, rngs=rngs,
                    conv_general_dilated=convolve,
                )
                for m, n in itertools.pairwise(sizes)
            ]
        )  # fmt: skip
        left = points // 2 ** len(filters)
        self.last = nnx.Linear(left * sizes[-1], outputs, rngs=rngs)
        initialize(self, rngs, "torch")

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        z = inputs
        for convolution in self.convolutions:
            z = nnx.max_pool(jax.nn.relu(convolution(z)), (2,), (2,))
        return jnp.tanh(self.last(z.reshape(len(z), -1)))
