"""The discrete inverse solver: flips of the sites of binary matrices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.ldft import isotherm, refine_matrices
from physopt.problems.ldft.flips import flipped_unknowns
from physopt.problems.ldft.losses import continuity_change, continuity_penalty
from physopt.problems.ldft.named import LDFT2D

SQUARE = {"dimensions": 2, "spacing": 0.1}
LOOP = {"dimensions": 3, "spacing": 0.2, "desorption": True}


def matrices(seed, *shape, porosity=0.6):
    return jnp.asarray(np.random.default_rng(seed).random(shape) < porosity, jnp.float32)


def with_flips(pores, count, seed):
    """Flip `count` random sites of each matrix."""
    rng, rows = np.random.default_rng(seed), np.array(pores).reshape(len(pores), -1)
    for row in rows:
        sites = rng.choice(row.size, count, replace=False)
        row[sites] = 1 - row[sites]
    return jnp.asarray(rows.reshape(pores.shape))


def area(y, target):
    return 100 * np.mean(np.abs(np.asarray(y) - np.asarray(target)), axis=1)


@pytest.mark.parametrize("shape", [(5, 5), (3, 3, 3)])
def test_the_penalty_s_change_is_that_of_every_single_flip(shape):
    pores = matrices(0, 1, *shape)
    flat, sites = pores.reshape(-1), int(np.prod(shape))
    flipped = jnp.where(jnp.eye(sites, dtype=bool), 1 - flat, flat).reshape(sites, *shape)
    penalty, change = jax.jit(continuity_penalty), jax.jit(continuity_change)
    exact = penalty(flipped) - penalty(pores)
    np.testing.assert_allclose(change(pores).ravel(), exact, atol=1e-6)


def compiled(continuity=0.0, **options):
    """Return programs (pores, target, trials) -> refined matrices, and pores -> isotherms."""

    def refine(pores, target, trials):
        return refine_matrices(pores, target, trials=trials, continuity=continuity, **options)

    return jax.jit(refine), jax.jit(partial(isotherm, **options))


@pytest.fixture(scope="module")
def square():
    return compiled(**SQUARE)


def unreachable(count, length, seed=7):
    """Steep curves from 0 to 1; in a loop desorption is as far from any matrix as adsorption."""
    increments = np.random.default_rng(seed).exponential(size=(count, length)) ** 4
    return jnp.asarray(np.cumsum(increments, 1) / increments.sum(1, keepdims=True), jnp.float32)


def test_a_refined_matrix_is_binary_and_never_worse(square):
    refine, solve = square
    pores = matrices(1, 8, 6, 6)
    known = solve(matrices(2, 4, 6, 6, porosity=0.8))
    target = jnp.concatenate([unreachable(4, 10), known])
    errors = [area(solve(refine(pores, target, trials)), target) for trials in (0, 5, 60)]
    np.testing.assert_allclose(errors[0], area(solve(pores), target), rtol=1e-5)
    assert (errors[1] <= errors[0] + 1e-4).all()
    assert (errors[2] <= errors[1] + 1e-4).all(), "more trials go on from fewer"
    assert errors[2].mean() < 0.5 * errors[0].mean()
    assert set(np.unique(refine(pores, target, 60))) == {0, 1}


@pytest.mark.parametrize("flips", [1, 5, 20])
def test_the_isotherm_of_a_known_matrix_is_found_from_flipped_ones(square, flips):
    refine, solve = square
    target = solve(matrices(5, 8, 6, 6))
    start = with_flips(matrices(5, 8, 6, 6), flips, flips)
    assert area(solve(start), target).mean() > 0.5
    assert np.median(area(solve(refine(start, target, 150)), target)) < 0.1


def test_the_penalty_counts_beside_the_error():
    weight = 0.5
    refine, solve = compiled(weight, **SQUARE)
    pores = matrices(1, 8, 6, 6)
    target = unreachable(8, 10)

    def objective(pores):
        return area(solve(pores), target) + 100 * weight * continuity_penalty(pores)

    refined = refine(pores, target, 40)
    assert (objective(refined) <= objective(pores) + 1e-4).all()
    assert continuity_penalty(refined).mean() < 0.7 * continuity_penalty(pores).mean()


def test_loops_on_a_cubic_lattice_are_refined():
    refine, solve = compiled(**LOOP)
    pores, other = matrices(3, 4, 4, 4, 4), matrices(4, 4, 4, 4, 4, porosity=0.8)
    target = solve(other)
    before, after = (area(solve(p), target) for p in (pores, refine(pores, target, 40)))
    assert (after <= before + 1e-4).all()
    assert after.mean() < 0.3 * before.mean()


def test_sites_that_keep_their_sign_keep_their_value():
    x = jnp.array([[-2.0, -0.1, 0.2, 3.0]])
    actual = flipped_unknowns(x, jnp.array([[0.0, 1.0, 0.0, 1.0]]), 0.5)
    np.testing.assert_allclose(actual, [[-2.0, 0.5, -0.5, 3.0]])


def test_the_inverse_solver_of_a_problem_may_be_that_of_flips():
    """NaN, which a diverged network predicts, is neither repaired nor spread."""
    problem = LDFT2D(size=4, points=5, inverse="flips", inverse_iterations=3, inverse_margin=0.2)
    batch = problem._batch(unreachable(4, 5)).at(0.5)
    x = jax.random.normal(jax.random.key(1), (4, 4, 4)).at[0].set(jnp.nan)
    goal = np.asarray(jax.jit(problem.invert)(x, batch))
    assert np.isnan(goal[0]).all()
    x, goal = np.asarray(x)[1:], goal[1:]
    moved = goal != x
    assert moved.any()
    np.testing.assert_allclose(np.abs(goal[moved]), 0.2)
    np.testing.assert_array_equal(goal[moved] > 0, x[moved] < 0)
