"""U-net: the convolutional network for problems whose inputs and unknowns are fields on a grid."""

from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Normalization, normalization_layer

Initialization = Literal["torch", "glorot"]
_Module = TypeVar("_Module", bound=nnx.Module)


class UNet(nnx.Module):
    """U-net, fields [batch, n, n, inputs] -> [batch, n, n, outputs], linear at its end.

    Every level halves the grid by max-pooling, and comes back by linear interpolation, joined with
    what the encoder had there; two 3x3 convolutions with normalisation and ReLU at every level.
    Fields [batch, n, n] count as one channel, and the result then has no channel axis either.
    Grids of odd size are halved rounding down. dimensions=1 or 3 works on lines and volumes alike.

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
        self.exit = nnx.Conv(filters, outputs, (1,) * dimensions, rngs=rngs)
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
        width = (3,) * dimensions
        self.convolutions = nnx.List(
            [nnx.Conv(c, filters, width, rngs=rngs) for c in (channels, filters)]
        )
        self.norms = nnx.List([normalization_layer(normalization, filters, rngs) for _ in range(2)])

    def __call__(self, z: jax.Array) -> jax.Array:
        """Evaluate the layers."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            z = jax.nn.relu(norm(convolution(z)))
        return z


def initialize(module: _Module, rngs: nnx.Rngs, scheme: Initialization) -> _Module:
    """Draw the weights of all dense and convolutional layers anew; return the module.

    torch: weights and biases uniform within +-1/sqrt(fan in), PyTorch's default.
    glorot: weights uniform within +-sqrt(6 / (fan in + fan out)), zero biases; the default of TF.
    """
    kernel_init = {
        "torch": nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
        "glorot": nnx.initializers.glorot_uniform(),
    }[scheme]
    for _, layer in nnx.iter_graph(module):
        if not isinstance(layer, nnx.Linear | nnx.Conv):
            continue
        kernel = layer.kernel[...]
        layer.kernel[...] = kernel_init(rngs.params(), kernel.shape, kernel.dtype)
        if layer.bias is None:
            continue
        bias = layer.bias[...]
        bound = (kernel.size // kernel.shape[-1]) ** -0.5 if scheme == "torch" else 0.0
        layer.bias[...] = jax.random.uniform(
            rngs.params(), bias.shape, bias.dtype, minval=-bound, maxval=bound
        )
    return module
