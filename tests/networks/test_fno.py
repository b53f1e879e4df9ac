"""Fourier neural operators: spectral layers are convolutions, whatever the resolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.networks.fno import FourierOperator, SpectralConvolution
from physopt.problems.poisson import Poisson

MODES = 3


@pytest.fixture(scope="module")
def layer():
    with jax.enable_x64(True):
        layer = SpectralConvolution(2, 3, MODES, nnx.Rngs(0))
        layer.weights[...] = jax.random.normal(jax.random.key(1), layer.weights.shape)
        yield layer


def kernel(weights, n, m):
    """Return the kernel [n, m, inputs, outputs] as a sum over its modes, written out."""
    s, t = np.meshgrid(np.arange(n) / n, np.arange(m) / m, indexing="ij")
    total = np.zeros((n, m, 2, 3))
    for half, first in ((0, 0), (1, -MODES)):
        for a in range(MODES):
            for b in range(MODES):
                wave = np.exp(2j * np.pi * ((first + a) * s + b * t))
                weight = weights[0, half, :, :, a, b] + 1j * weights[1, half, :, :, a, b]
                # A mode with k_2 > 0 stands for itself and for its conjugate.
                total += (1 if b == 0 else 2) * (wave[..., None, None] * weight).real
    return total / (n * m)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (9, 7)])
def test_a_spectral_layer_is_a_circular_convolution(layer, n, m):
    with jax.enable_x64(True):
        z = np.random.default_rng(0).normal(size=(2, n, m, 2))
        expected = np.zeros((2, n, m, 3))
        taps = kernel(np.asarray(layer.weights[...]), n, m)
        for i in range(n):
            for j in range(m):
                expected += np.roll(z, (i, j), axis=(1, 2)) @ taps[i, j]
        np.testing.assert_allclose(layer(jnp.asarray(z)), expected, atol=1e-12)


def test_a_spectral_layer_gives_the_same_field_at_any_resolution(layer):
    """On a field without modes beyond those of the coarse grid."""

    def field(n):
        s, t = np.meshgrid(np.arange(n) / n, np.arange(n) / n, indexing="ij")
        waves = [np.sin(2 * np.pi * (2 * s - t)), np.cos(2 * np.pi * (s + 2 * t)) + 0.5]
        return jnp.asarray(np.stack(waves, axis=-1)[None])

    with jax.enable_x64(True):
        coarse, fine = layer(field(8)), layer(field(24))
        np.testing.assert_allclose(fine[:, ::3, ::3], coarse, atol=1e-12)
        assert float(jnp.abs(coarse).max()) > 0.1


def test_the_operator_has_the_sources_size_and_works_on_small_grids():
    network = nnx.eval_shape(lambda: Poisson().network_fno(nnx.Rngs(0)))
    sizes = [leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))]
    complex_ones = 4 * 2 * 32 * 32 * 12 * 12
    assert sum(sizes) - complex_ones == 1_188_353  # real and imaginary part are two numbers here
    small = FourierOperator(nnx.Rngs(0), width=4, layers=2, hidden=8)
    assert jax.eval_shape(small, jnp.ones((2, 6, 6))).shape == (2, 6, 6)
