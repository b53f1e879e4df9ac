"""Generators: networks from a target isotherm to the pre-activation of a porous matrix."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Activation, Dense, Normalization, normalization_layer
from physopt.numerics.linalg import HIGHEST
from physopt.problems.ldft.options import InverseDesignOptions


class DenseGenerator(nnx.Module):
    """Fully connected, with a random bias per site that breaks the lattice's symmetry.

    Of the three generators it trains best on a small budget.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        rngs: nnx.Rngs,
        hidden: Sequence[int],
        activation: Activation,
        normalization: Normalization,
    ):
        self.shape = shape
        sizes = (inputs, *hidden, math.prod(shape))
        self.dense = Dense(sizes, rngs, activation, normalization, bias_scale=1.0)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate: [batch, points] -> [batch, *shape]."""
        return self.dense(inputs).reshape(-1, *self.shape)


class ConvolutionalGenerator(nnx.Module):
    """Periodic convolutions of a fixed noise field, modulated by the target isotherm.

    A translation-invariant network alone cannot distinguish sites; the noise breaks the symmetry.
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        rngs: nnx.Rngs,
        channels: int,
        layers: int,
        normalization: Normalization,
    ):
        self.shape = shape
        self.noise = FixedField(jax.random.normal(rngs.params(), (*shape, channels)))
        self.embed = nnx.Linear(inputs, 2 * channels, rngs=rngs)
        kernel = (3,) * len(shape)
        self.convolutions = nnx.List(
            [
                nnx.Conv(channels, channels, kernel, padding="CIRCULAR", rngs=rngs)
                for _ in range(layers)
            ]
        )
        self.norms = nnx.List(
            [normalization_layer(normalization, channels, rngs) for _ in range(layers)]
        )
        self.last = nnx.Conv(channels, 1, kernel, padding="CIRCULAR", rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate: [batch, points] -> [batch, *shape]."""
        embedding = self.embed(inputs).reshape(len(inputs), *(1,) * len(self.shape), -1)
        scale, shift = jnp.split(embedding, 2, axis=-1)
        z = self.noise[...] * (1 + scale) + shift
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            z = z + jax.nn.gelu(norm(convolution(z)))
        return self.last(z)[..., 0]


class FixedField(nnx.Variable):
    """An array of a network that is not trained."""


class PaperGenerator(nnx.Module):
    """The generator of the source: a branch for each half of the isotherm's increments.

    Each branch: dense -> [*shape, channels], a transposed convolution as wide as the lattice, a
    convolution to one channel, ReLU and normalisation after each; a final convolution joins the
    two. Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """

    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        rngs: nnx.Rngs,
        channels: int,
        normalization: Normalization,
    ):
        self.half = inputs // 2
        sizes = (self.half, inputs - self.half)
        self.branches = nnx.List(
            [_Branch(size, shape, channels, normalization, rngs) for size in sizes]
        )
        self.last = nnx.Conv(2, 1, (3,) * len(shape), padding="CIRCULAR", rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate: [batch, points] -> [batch, *shape]."""
        increments = jnp.diff((inputs + 1) / 2, axis=1, prepend=0)
        parts = increments[:, : self.half], increments[:, self.half :]
        maps = [branch(part) for branch, part in zip(self.branches, parts, strict=True)]
        return self.last(jnp.concatenate(maps, axis=-1))[..., 0]


class LatticeWideConvolution(nnx.ConvTranspose):
    """A periodic transposed convolution whose kernel is as wide as the lattice.

    Fourier transforms replace flax's sum over all pairs of sites, N^(2d) products a pair of
    channels; parameters and values are the same, up to rounding.
    """

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate: [batch, *shape, channels] -> [batch, *shape, channels]."""
        shape = inputs.shape[1:-1]
        axes = range(len(shape))
        of_inputs = [axis + 1 for axis in axes]
        # y_s = sum_t kernel_t x_(s-t), with flax's order and centre of the kernel.
        kernel = jnp.flip(self.kernel[...], axes)
        kernel = jnp.roll(kernel, [n // 2 + 1 for n in shape], axes)
        product = jnp.einsum(
            "b...i,...io->b...o",
            jnp.fft.rfftn(inputs, axes=of_inputs),
            jnp.fft.rfftn(kernel, axes=axes),
            precision=HIGHEST,
        )
        outputs = jnp.fft.irfftn(product, s=shape, axes=of_inputs)
        return outputs if self.bias is None else outputs + self.bias[...]


class _Branch(nnx.Module):
    def __init__(
        self,
        inputs: int,
        shape: tuple[int, ...],
        channels: int,
        normalization: Normalization,
        rngs: nnx.Rngs,
    ):
        self.shape, self.channels = shape, channels
        self.dense = nnx.Linear(inputs, math.prod(shape) * channels, rngs=rngs)
        self.spread = LatticeWideConvolution(
            channels, channels, shape, padding="CIRCULAR", rngs=rngs
        )
        self.gather = nnx.Conv(channels, 1, (3,) * len(shape), padding="CIRCULAR", rngs=rngs)
        self.norms = nnx.List([normalization_layer(normalization, n, rngs) for n in (channels, 1)])
        self.first_norm = normalization_layer(normalization, channels, rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        z = self.dense(inputs).reshape(-1, *self.shape, self.channels)
        z = self.first_norm(jax.nn.relu(z))
        for layer, norm in zip((self.spread, self.gather), self.norms, strict=True):
            z = norm(jax.nn.relu(layer(z)))
        return z


@dataclasses.dataclass(frozen=True)
class HasGenerators(InverseDesignOptions):
    """The generators of an inverse-design problem; a subclass sets the lattice."""

    desorption: ClassVar[bool] = False
    if TYPE_CHECKING:
        dimensions: ClassVar[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sites along each axis."""
        return (self.size,) * self.dimensions

    @property
    def length(self) -> int:
        """Points of an isotherm, including the desorption branch if there is one."""
        return 2 * self.points if self.desorption else self.points

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the dense generator."""
        return DenseGenerator(
            self.length, self.shape, rngs, self.hidden, self.activation, self.normalization
        )

    def network_convolutional(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the convolutional generator on a fixed field of noise."""
        return ConvolutionalGenerator(
            self.length, self.shape, rngs, self.channels, 3, self.normalization
        )

    def network_paper(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the source's generator; it used 64 channels in 2D, 8 in 3D, and batch norm."""
        return PaperGenerator(self.length, self.shape, rngs, self.channels, self.normalization)
