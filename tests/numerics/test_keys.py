"""Random keys: flat draws have the values of JAX's."""

import jax
import numpy as np
import pytest

from physopt.numerics.keys import key_of, normal


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("shape", [(), (3,), (4, 5), (2, 3, 4)])
def test_flat_normal_draws_have_jax_s_values(shape, double):
    with jax.enable_x64(double):
        keys = jax.random.split(key_of(3), 2)
        drawn = jax.vmap(lambda key: normal(key, shape))(keys)
        expected = jax.vmap(lambda key: jax.random.normal(key, shape))(keys)
        assert drawn.dtype == expected.dtype
        np.testing.assert_array_equal(drawn, expected)
