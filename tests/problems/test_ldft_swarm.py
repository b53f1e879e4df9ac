"""Test matrices from a particle swarm."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.ldft.named import LDFT2D
from physopt.problems.ldft.swarm import ITERATIONS, PARTICLES, swarm_matrices


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def porosity_of_rows(matrices):
    return matrices.mean(axis=-1)


def test_a_swarm_finds_better_matrices_than_as_many_random_ones():
    target = jax.random.uniform(jax.random.key(1), (8, 6))
    shape = (6, 8)
    found = swarm_matrices(keys(8), target, porosity_of_rows, shape)
    assert set(np.unique(found)) <= {0.0, 1.0}
    error = np.abs(porosity_of_rows(found) - target).mean(axis=1)
    rng = np.random.default_rng(0)
    trials = PARTICLES * (ITERATIONS + 1)
    threshold = rng.uniform(size=(8, trials, 1, 1))
    random = rng.uniform(size=(8, trials, *shape)) < threshold
    best = np.abs(random.mean(-1) - np.asarray(target)[:, None]).mean(-1).min(1)
    assert error.mean() < 0.8 * best.mean()


def test_samples_of_a_swarm_are_independent_of_each_other():
    target = jax.random.uniform(jax.random.key(1), (8, 6))
    whole = swarm_matrices(keys(8), target, porosity_of_rows, (6, 8))
    part = swarm_matrices(keys(8)[3:5], target[3:5], porosity_of_rows, (6, 8))
    np.testing.assert_array_equal(part, whole[3:5])


def test_held_out_matrices_of_a_swarm():
    options = {"size": 4, "points": 5, "optimised_fraction": 0.5}
    plain = LDFT2D(**options, optimiser="gauss_newton")
    swarm = LDFT2D(**options, optimiser="swarm")
    first, second = (np.asarray(jax.jit(p.held_out_matrices)(keys(16))) for p in (plain, swarm))
    assert set(np.unique(second)) == {0.0, 1.0}
    differ = (first != second).any(axis=(1, 2))
    selected = jax.vmap(lambda k: jax.random.bernoulli(jax.random.split(k, 4)[1], 0.5))(keys(16))
    assert not differ[~np.asarray(selected)].any(), "random matrices are the same"
    assert differ[np.asarray(selected)].mean() > 0.5
    assert jnp.all(second.reshape(16, -1).sum(1) > 0)
