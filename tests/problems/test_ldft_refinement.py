"""Refinement of designs: the annealed inverse solver and the flips after it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.problems.ldft import isotherm, isotherm_and_jacobian
from physopt.problems.ldft.coarse import BLOCK_SIDES, POROSITIES, coarse_copies
from physopt.problems.ldft.flips import FIRST_FLIPS, flip_sites
from physopt.problems.ldft.inverse import (
    OFFSETS,
    STAGES,
    anneal,
    fewest_evaluations,
    shifted_copies,
    steps_per_stage,
)
from physopt.problems.ldft.refinement import LEAST_GAIN, refined_matrices, unknowns_of
from physopt.problems.ldft.relaxation import binary

SQUARE = {"dimensions": 2, "spacing": 0.1}
PHYSICS = partial(isotherm_and_jacobian, **SQUARE)


def matrices(seed, porosity, count=8):
    values = np.random.default_rng(seed).random((count, 6, 6)) < porosity
    return jnp.asarray(values, jnp.float32)


def annealed_inverse(x, target, physics, evaluations, damping):
    """Anneal from the shifted copies of x alone, as refinement does in its first rounds."""
    starts, steps = shifted_copies(x), steps_per_stage(evaluations)
    return anneal(starts, jnp.int32(len(starts)), target, physics, steps, damping)[0]


@pytest.fixture(scope="module")
def area_error():
    solve = jax.jit(partial(isotherm, **SQUARE))
    target = solve(matrices(1, 0.8))
    return target, lambda pores: np.mean(np.abs(np.asarray(solve(pores) - target)), axis=1)


def test_it_finds_the_porosity_from_a_saturated_generator(area_error):
    """At |x| = 30 sigmoid(x) has no slope, and half of the sites have to change."""
    target, error = area_error
    x = 30 * (2 * matrices(2, 0.3) - 1)
    solve = jax.jit(lambda x: annealed_inverse(x, target, PHYSICS, 40, 1e-2))
    after = error(binary(solve(x)))
    assert np.median(after) < 0.5 * np.median(error(binary(x)))


def test_steps_of_a_linear_physics_reach_the_target():
    """y is a mean and a weighted mean of eta; one site of 36 changes it by up to 2 / 36."""
    rows = jnp.stack([jnp.ones(36), jnp.arange(36) / 18]) / 36

    def physics(eta):
        slope = jnp.broadcast_to(rows.reshape(2, 6, 6), (len(eta), 2, 6, 6))
        return eta.reshape(len(eta), -1) @ rows.T, slope

    goal, _ = physics(matrices(3, 0.6))
    x = annealed_inverse(jax.random.normal(jax.random.key(0), (8, 6, 6)), goal, physics, 60, 1e-4)
    reached, _ = physics(binary(x))
    assert np.abs(reached - goal).mean() < 2 / 36


def test_every_stage_has_a_step_at_the_least_effort():
    assert fewest_evaluations() == len(OFFSETS) + 2 * STAGES
    constant = jnp.ones((1, 1)), jnp.zeros((1, 1, 2, 2))
    x = annealed_inverse(jnp.ones((1, 2, 2)), jnp.ones((1, 1)), lambda _: constant, 15, 1e-2)
    np.testing.assert_allclose(x, 2.0**STAGES, err_msg="doubled at the end of every stage")


@pytest.mark.parametrize("effort", [10, 60])
def test_a_refined_design_is_binary_and_never_worse(area_error, effort):
    target, error = area_error
    pores = matrices(4, 0.5)
    pores = pores.at[0].set(matrices(1, 0.8)[0])  # already exact
    refined = jax.jit(partial(refined_matrices, physics=PHYSICS, effort=effort, damping=1e-2))(
        unknowns_of(pores), target
    )
    assert set(np.unique(refined)) == {0, 1}
    before, after = error(pores), error(refined)
    assert (after <= before).all()
    assert after[1:].mean() < 0.5 * before[1:].mean()
    np.testing.assert_array_equal(refined[0], pores[0])


def test_flips_start_from_the_better_of_two_matrices(area_error):
    target, _ = area_error
    near, far = matrices(1, 0.8), matrices(2, 0.3)
    first = jnp.concatenate([near[:4], far[4:]])
    other = jnp.concatenate([far[:4], near[4:]])
    result = flip_sites(first, target, PHYSICS, 0, others=(other,), least_gain=LEAST_GAIN)
    np.testing.assert_array_equal(result, near)


def test_trials_of_solved_matrices_go_to_the_others():
    """Of 4 (6 + 1) trials the three that are solved take 4 each, the other takes 16."""
    weights = jnp.asarray(np.random.default_rng(0).random((12, 6, 6)), jnp.float32) / 36

    def physics(eta):
        y = jnp.einsum("bij,kij->bk", eta, weights, precision="highest")
        return y, jnp.broadcast_to(weights, (len(eta), *weights.shape))

    pores = matrices(5, 0.5, count=4)
    far = pores.at[0].set(1.0)
    target, _ = physics(far)
    together = flip_sites(pores, target, physics, 6, enough=1e-5)
    alone = flip_sites(pores[:1], target[:1], physics, 15, enough=1e-5)
    np.testing.assert_array_equal(together[0], alone[0])
    np.testing.assert_array_equal(together[1:], pores[1:])
    fewer = flip_sites(pores[:1], target[:1], physics, 1, enough=1e-5)
    assert np.sum(fewer != pores[:1]) <= FIRST_FLIPS < np.sum(alone != pores[:1])


def test_coarse_copies_have_wide_pores_and_the_stated_porosities():
    x = jax.random.normal(jax.random.key(1), (2, 10, 10, 10))
    copies = binary(coarse_copies(x)).reshape(-1, len(POROSITIES), *x.shape)
    assert len(copies) == len(BLOCK_SIDES) + 3
    porosities = copies.mean(axis=(0, 2, 3, 4, 5))
    np.testing.assert_allclose(porosities, POROSITIES, atol=2e-3)
    blocks = copies[len(BLOCK_SIDES) - 1].reshape(-1, 2, 5, 2, 5, 2, 5).mean(axis=(2, 4, 6))
    uniform = ((blocks == 0) | (blocks == 1)).reshape(len(blocks), -1)
    assert uniform.sum(axis=1).min() >= 7, "a threshold divides one block at most"
    layers = copies[-1].mean(axis=(2, 3))
    assert ((layers == 0) | (layers == 1)).reshape(-1, 10).sum(axis=1).min() >= 9
