"""Random subsets: what is restored is the whole in the mean."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.numerics.random_subset import draw, elementwise, kept, restored

DRAWS = 2000
KEYS = jax.random.split(jax.random.key(0), DRAWS)


def test_factors_at_an_index_add_up_to_one_in_the_mean():
    weights = jnp.asarray([0.0, 3.0, 1.0, 0.0, 0.5, 2.5, 0.0])
    index, factor = jax.vmap(partial(draw, count=3, weights=weights))(KEYS)
    # Each draw stands for a third of the sum, whatever is drawn.
    np.testing.assert_allclose((factor * weights[index]).sum(1), weights.sum(), rtol=1e-6)
    sums = jax.vmap(lambda i, f: jnp.zeros(7).at[i].add(f))(index, factor)
    errors = np.asarray(sums.std(0)) / np.sqrt(DRAWS)
    assert (np.abs(np.asarray(sums.mean(0) - (weights > 0))) <= 4 * errors + 1e-6).all()


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_restored_values_are_those_of_the_whole_in_the_mean(fraction):
    values = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)))

    def once(key):
        part = kept(values, key, fraction)
        assert part.shape == (round(20 * fraction),)
        return restored(part, key, values.shape)

    whole = np.asarray(jax.vmap(once)(KEYS))
    if fraction == 1:
        np.testing.assert_array_equal(whole, np.broadcast_to(values, whole.shape))
        return
    missed = np.sum((whole.mean(0) - values) ** 2)
    assert missed <= 3 * np.sum(whole.var(0)) / DRAWS


def test_a_part_of_the_slope_of_an_elementwise_function_is_kept():
    z = jnp.linspace(-1, 2, 8)

    def total(z, key):
        return jnp.sum(jnp.asarray(elementwise(cubed, z, key, 0.25)))

    rows = np.asarray(jax.vmap(jax.grad(total), in_axes=(None, 0))(z, KEYS[:4]))
    np.testing.assert_allclose(rows, np.where(rows, 4 * 3 * z**2, 0), rtol=1e-6)
    assert (np.count_nonzero(rows, axis=1) == 2).all()
    np.testing.assert_array_equal(elementwise(cubed, z, KEYS[0], 0.25), z**3)


def cubed(z):
    return z**3
