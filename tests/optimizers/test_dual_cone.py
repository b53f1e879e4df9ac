"""Gradients of the terms of a loss, their alignment, and the dual cone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny
from two_terms import TwoTerms, parts, two_terms

from physopt.objective import build
from physopt.optimizers.dual_cone import DualCone, _center, alignment

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def case():
    objective, params, batch = two_terms()
    return objective, params, batch, np.asarray(jax.tree.leaves(params)[0])


def test_the_gradients_of_the_terms_are_those_of_their_samples(case):
    objective, params, batch, w = case
    losses, gradients = objective.term_gradients(params, batch, 2)
    expected = parts(objective.problem, batch, w)
    np.testing.assert_allclose(losses, expected[0], rtol=1e-10)
    (rows,) = jax.tree.leaves(gradients)
    np.testing.assert_allclose(rows, expected[1], rtol=1e-10)
    loss, gradient = jax.value_and_grad(objective.value)(params, batch)
    np.testing.assert_allclose(np.sum(losses), loss, rtol=1e-12)
    np.testing.assert_allclose(np.sum(rows, axis=0), jax.tree.leaves(gradient)[0], rtol=1e-10)


def test_the_step_is_the_projection_on_the_centre_of_the_cone(case):
    objective, params, batch, w = case
    _, (g_r, g_b) = parts(objective.problem, batch, w)
    c = g_r / np.linalg.norm(g_r) + g_b / np.linalg.norm(g_b)
    expected = -0.1 * ((g_r + g_b) @ c) / (c @ c) * c
    rule = DualCone(optimizer="sgd", learning_rate=0.1)
    state = rule.init(objective, params, KEY)
    step, _, info = jax.jit(rule.update)(objective, params, state, batch, KEY)
    (step,) = jax.tree.leaves(step)
    np.testing.assert_allclose(step, expected, rtol=1e-10)
    assert step @ g_r < 0
    assert step @ g_b < 0
    np.testing.assert_allclose(info["grad_norm"], np.linalg.norm(g_r + g_b), rtol=1e-10)
    cosine = g_r @ g_b / np.linalg.norm(g_r) / np.linalg.norm(g_b)
    np.testing.assert_allclose(info["alignment"], cosine, rtol=1e-9)
    assert (info["n_simulate"], info["n_vjp"]) == (24, 48)


def test_the_sum_is_the_plain_optimiser(case):
    objective, params, batch, _ = case
    rule = DualCone(combine="sum", learning_rate=0.1)
    state = rule.init(objective, params, KEY)
    step, _, _ = jax.jit(rule.update)(objective, params, state, batch, KEY)
    adam = optax.adam(0.1)
    gradient = jax.grad(objective.value)(params, batch)
    expected, _ = adam.update(gradient, adam.init(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), step, expected)


def test_no_term_rises_where_the_plain_gradient_lets_one_rise():
    """Opposed gradients of very different length: the sum climbs the shorter one."""
    g = np.array([[1.0, 0.0], [-8.0, 4.0]])
    weights = _center(jnp.asarray(g @ g.T))
    direction = np.asarray(weights) @ g
    assert np.sum(g, axis=0) @ g[0] < 0
    assert (g @ direction > 0).all()
    # The angles to both are equal: it is the centre.
    cosines = g @ direction / np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(cosines[0], cosines[1], rtol=1e-12)


def test_other_terms_than_the_first_are_one_group():
    g = np.random.default_rng(0).normal(size=(3, 5))
    grouped = np.stack([g[0], g[1] + g[2]])
    weights = np.asarray(_center(jnp.asarray(g @ g.T)))
    expected = np.asarray(_center(jnp.asarray(grouped @ grouped.T)))
    np.testing.assert_allclose(weights, expected[[0, 1, 1]], rtol=1e-10)


@pytest.mark.parametrize(
    ("gradients", "score"),
    [
        ([[2.0, 0.0], [5.0, 0.0]], 1),
        ([[2.0, 0.0], [0.0, 5.0]], 0),
        ([[2.0, 0.0], [-5.0, 0.0]], -1),
        ([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 3.0]], -1 / 3),
    ],
)
def test_alignment_scores(gradients, score):
    g = np.array(gradients)
    np.testing.assert_allclose(alignment(jnp.asarray(g @ g.T)), score, atol=1e-12)


def test_gradients_of_zero_and_opposed_gradients_give_finite_steps():
    for g in ([[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [-1.0, 0.0]]):
        products = jnp.asarray(np.array(g) @ np.array(g).T)
        assert jnp.isfinite(_center(products)).all()
        assert jnp.isfinite(alignment(products))


def test_a_loss_of_one_term_is_refused():
    objective, _ = build(Tiny(), "default", 0)
    assert DualCone().refuses(objective) == (
        "the loss of Tiny has one term; its samples are of no different kinds"
    )
    assert DualCone().refuses(build(TwoTerms(), "default", 0)[0]) is None
