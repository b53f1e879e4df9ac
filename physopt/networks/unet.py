"""U-net: a convolutional network for problems whose inputs and unknowns are fields on a grid."""

import dataclasses
import math
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Normalization, normalization_layer
from physopt.networks.convolution import convolve
from physopt.options import Options, PositiveInt

Initialization = Literal["torch", "glorot"]
_zeros = nnx.initializers.zeros_init()  # `initialize` then draws all weights
_Module = TypeVar("_Module", bound=nnx.Module)


class UNet(nnx.Module):
    """U-net, fields [batch, n, n, inputs] -> [batch, n, n, outputs], with a linear last layer.

    Each level of the encoder halves the grid by max-pooling; the decoder interpolates linearly and
    concatenates the encoder's features. Every level has two 3x3 convolutions with normalisation and
    ReLU. Fields [batch, n, n] have one channel, and the result then has no channel axis either.
    Half an odd size is rounded down. dimensions=1 or 3 works on lines or volumes.

    Source: `u_net` of PhiFlow as used by arXiv 2109.15048, with batch normalisation there.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        rngs: nnx.Rngs,
        levels: int = 4,
        filters: int = 16,
        normalization: Normalization = "group",
        dimensions: int = 2,
    ):
        def double(channels: int) -> DoubleConvolution:
            return DoubleConvolution(channels, filters, rngs, normalization, dimensions)

        self.dimensions = dimensions
        self.entry = double(inputs)
        self.encoder = nnx.List([double(filters) for _ in range(levels - 1)])
        self.decoder = nnx.List([double(2 * filters) for _ in range(levels - 1)])
        self.exit = _convolution(filters, outputs, 1, rngs, dimensions)
        initialize(self, rngs, "torch")

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        if inputs.ndim == self.dimensions + 1:
            return self(inputs[..., None])[..., 0]
        window = (2,) * self.dimensions
        z = self.entry(inputs)
        skipped = []
        for block in self.encoder:
            skipped.append(z)
            z = block(nnx.max_pool(z, window, window))
        for block, skip in zip(self.decoder, reversed(skipped), strict=True):
            raised = jax.image.resize(z, (*skip.shape[:-1], z.shape[-1]), "linear")
            z = block(jnp.concatenate([skip, raised], axis=-1))
        return self.exit(z)


@dataclasses.dataclass(frozen=True)
class UNetOptions(Options):
    """Options of problems with a U-net."""

    levels: PositiveInt = 4
    """Number of resolutions of the U-net; each halves the grid."""

    filters: PositiveInt = 16
    """Channels of the U-net."""

    normalization: Normalization = "group"
    """Normalisation of the U-net. The source of poisson and heat uses batch, which couples samples;
    some rules refuse it."""

    def unet(self, inputs: int, outputs: int, rngs: nnx.Rngs, dimensions: int = 2) -> UNet:
        """Make a U-net with these options."""
        return UNet(
            inputs, outputs, rngs, self.levels, self.filters, self.normalization, dimensions
        )


class DoubleConvolution(nnx.Module):
    """Convolution, normalisation and ReLU, twice: zero padding, 3 cells wide."""

    def __init__(
        self,
        channels: int,
        filters: int,
        rngs: nnx.Rngs,
        normalization: Normalization,
        dimensions: int,
    ):
        self.convolutions = nnx.List(
            [_convolution(c, filters, 3, rngs, dimensions) for c in (channels, filters)]
        )
        self.norms = nnx.List([normalization_layer(normalization, filters, rngs) for _ in range(2)])

    def __call__(self, z: jax.Array) -> jax.Array:
        """Evaluate the layers."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            z = jax.nn.relu(norm(convolution(z)))
        return z


def _convolution(
    inputs: int, outputs: int, width: int, rngs: nnx.Rngs, dimensions: int
) -> nnx.Conv:
    return nnx.Conv(
        inputs, outputs, (width,) * dimensions, kernel_init=_zeros, rngs=rngs,
        conv_general_dilated=convolve,
    )  # fmt: skip


def initialize(module: _Module, rngs: nnx.Rngs, scheme: Initialization) -> _Module:
    """Redraw the weights of all dense and convolutional layers; return the module.

    torch: weights and biases uniform within +-1/sqrt(fan in), PyTorch's default.
    glorot: weights uniform within +-sqrt(6 / (fan in + fan out)), zero biases, TensorFlow's.
    """
    bounded: list[tuple[nnx.Param, float]] = []
    for _, layer in nnx.iter_graph(module):
        if isinstance(layer, nnx.Linear | nnx.Conv):
            weights, biases = _bounds(layer.kernel.shape, scheme)
            bounded.append((layer.kernel, weights))
            if layer.bias is not None:
                bounded.append((layer.bias, biases))
    # One draw, split into pieces: a draw for each shape would take seconds to compile.
    ends = np.cumsum([parameter.size for parameter, _ in bounded])
    drawn = jax.random.uniform(rngs.params(), (int(ends[-1]),), minval=-1.0)
    for (parameter, bound), piece in zip(bounded, jnp.split(drawn, ends[:-1]), strict=True):
        parameter[...] = (bound * piece).reshape(parameter.shape).astype(parameter.dtype)
    return module


def _bounds(shape: tuple[int, ...], scheme: Initialization) -> tuple[float, float]:
    """Return the bounds of weights and biases of a layer with a kernel of this shape."""
    window, inputs, outputs = math.prod(shape[:-2]), *shape[-2:]
    if scheme == "torch":
        bound = (window * inputs) ** -0.5
        return bound, bound
    return (6 / (window * (inputs + outputs))) ** 0.5, 0.0
