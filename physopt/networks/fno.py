"""Fourier neural operator: convolutions with kernels given by their lowest Fourier modes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks.unet import initialize


class FourierOperator(nnx.Module):
    """Fourier neural operator between fields [batch, n, n].

    A dense layer raises the field and its positions s_1, s_2 in [0, 1] to `width` channels, padded
    with zeros at the end of both axes, since they are not periodic. `layers` layers follow,
    z <- gelu(K z + W z), with a spectral convolution K and a dense map W of the channels, the last
    one without gelu; two dense layers return the result. The padding is in cells, so that K alone
    does not depend on the resolution.

    Source: N. Kovachki et al., arXiv 2108.08481, and the program of Z. Li, with the sizes of
    arXiv 2109.15048: 1,188,353 parameters, complex ones counted once.
    """

    def __init__(
        self,
        rngs: nnx.Rngs,
        width: int = 32,
        modes: int = 12,
        layers: int = 4,
        padding: int = 9,
        hidden: int = 128,
    ):
        self.padding = padding
        self.entry = nnx.Linear(3, width, rngs=rngs)
        self.spectral = nnx.List(
            [SpectralConvolution(width, width, modes, rngs) for _ in range(layers)]
        )
        self.local = nnx.List([nnx.Linear(width, width, rngs=rngs) for _ in range(layers)])
        self.exit = nnx.List(
            [nnx.Linear(m, n, rngs=rngs) for m, n in itertools.pairwise((width, hidden, 1))]
        )
        initialize(self, rngs, "torch")

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        z = self.entry(jnp.stack([inputs, *positions(inputs)], axis=-1))
        z = jnp.pad(z, [(0, 0), (0, self.padding), (0, self.padding), (0, 0)])
        for k, (spectral, local) in enumerate(zip(self.spectral, self.local, strict=True)):
            z = spectral(z) + local(z)
            if k < len(self.local) - 1:
                z = jax.nn.gelu(z, approximate=False)
        z = z[:, : inputs.shape[1], : inputs.shape[2]]
        hidden, last = self.exit
        return last(jax.nn.gelu(hidden(z), approximate=False))[..., 0]


class SpectralConvolution(nnx.Module):
    """Periodic convolution of fields [batch, n, m, inputs] -> [batch, n, m, outputs].

    z_k <- R_k z_k for the modes |k_1| <= `modes` and 0 <= k_2 < modes, those with k_1 = modes left
    out; all other modes of the result are zero. Fewer modes are used where the grid has no more.
    The weights [2, 2, inputs, outputs, modes, modes] are R, real and imaginary part first, of the
    modes with k_1 >= 0 and with k_1 < 0.
    """

    def __init__(self, inputs: int, outputs: int, modes: int, rngs: nnx.Rngs):
        shape = (2, 2, inputs, outputs, modes, modes)
        scale = 1 / (inputs * outputs)
        self.weights = nnx.Param(scale * jax.random.uniform(rngs.params(), shape))

    def __call__(self, z: jax.Array) -> jax.Array:
        """Evaluate the layer."""
        n, m = z.shape[1:3]
        modes = self.weights.shape[-1]
        rows, columns = min(modes, n // 2), min(modes, m // 2 + 1)
        transformed = jnp.fft.rfft2(z, axes=(1, 2))[:, :, :columns]
        real, imaginary = self.weights[...][..., :columns]
        low, high = jax.lax.complex(real, imaginary)
        product = "bxyi,ioxy->bxyo"
        kept = jnp.zeros((*transformed.shape[:-1], low.shape[1]), transformed.dtype)
        kept = kept.at[:, :rows].set(jnp.einsum(product, transformed[:, :rows], low[:, :, :rows]))
        kept = kept.at[:, -rows:].set(
            jnp.einsum(product, transformed[:, -rows:], high[:, :, -rows:])
        )
        return jnp.fft.irfft2(kept, (n, m), axes=(1, 2))  # modes that are left out are zero


def positions(field: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the positions in [0, 1] along both axes of fields [batch, n, m], in their shape."""
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in field.shape[1:]), indexing="ij")
    first, second = (jnp.broadcast_to(jnp.asarray(s, field.dtype), field.shape) for s in axes)
    return first, second
