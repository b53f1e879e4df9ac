"""The source's generator: its lattice-wide convolution against flax's sum over pairs of sites."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from physopt.problems.ldft.generators import LatticeWideConvolution


@pytest.mark.parametrize("shape", [(5, 5), (6, 6), (3, 3, 3), (4, 4, 4)], ids=str)
def test_the_lattice_wide_convolution_is_that_of_flax(shape):
    with jax.enable_x64(True):
        theirs, ours = (
            make(3, 2, shape, padding="CIRCULAR", param_dtype=jnp.float64, rngs=nnx.Rngs(0))
            for make in (nnx.ConvTranspose, LatticeWideConvolution)
        )
        for layer in (theirs, ours):
            assert layer.bias is not None
            layer.bias[...] = jnp.array([0.5, -2.0])
        inputs, weights = (
            jax.random.normal(jax.random.key(seed), (2, *shape, channels), jnp.float64)
            for seed, channels in ((1, 3), (2, 2))
        )

        def value(layer, inputs):
            return (weights * layer(inputs) ** 2).sum()

        np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=1e-12)
        gradients = [nnx.grad(value, argnums=(0, 1))(layer, inputs) for layer in (ours, theirs)]
        for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)
