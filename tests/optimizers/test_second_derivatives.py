"""NNCG and AdaHessian: Newton steps against dense NumPy, and the diagonal of a Hessian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_model import case, iterate, random

from physopt.optimizers.first_order import AdaHessian
from physopt.optimizers.nncg import FAILURES, NNCG, nystrom
from physopt.optimizers.second_derivatives import hessian_product
from physopt.rule import PlanError


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def dense(objective, params, batch, start):
    """Return the gradient [P] and the Hessian [P, P] in NumPy."""

    def value(x):
        return objective.value(jax.tree.map(lambda leaf: x.reshape(leaf.shape), params), batch)

    x = jnp.asarray(start)
    return np.asarray(jax.grad(value)(x)), np.asarray(jax.hessian(value)(x))


@pytest.mark.parametrize("function", ["bent", "reverse_only"])
def test_products_with_the_hessian(function):
    """The rules of a custom_vjp are themselves differentiated in forward mode."""
    start = random(4)
    objective, params, batch = case(random(6, 4), random(6), start, function)
    product, way = hessian_product(objective, params, batch)
    assert "forward" in way
    v = jax.tree.map(jnp.ones_like, params)
    (actual,) = jax.tree.leaves(product(v))
    if function == "bent":
        expected = dense(objective, params, batch, start)[1] @ np.ones(4)
    else:
        matrix = np.asarray(batch.extra[0])
        expected = matrix.T @ matrix @ np.ones(4)
    np.testing.assert_allclose(actual.ravel(), expected, rtol=1e-10)


def test_a_quadratic_is_minimised_in_one_update():
    """cond(H) = 1e4."""
    matrix, target = random(8, 5) * np.logspace(0, -2, 5), random(8)
    rule = NNCG(damping=1e-14, tolerance=1e-13)
    x, _, infos = iterate(rule, *case(matrix, target, random(5)), 1)
    np.testing.assert_allclose(x[1], np.linalg.lstsq(matrix, target, rcond=None)[0], rtol=1e-7)
    assert infos[0]["length"] == 1


def test_a_step_is_newtons_with_the_true_hessian():
    start = 0.3 * random(5)
    arguments = case(random(9, 5), 0.1 * random(9), start, "bent")
    rule = NNCG(damping=1e-2, tolerance=1e-12)
    x, _, infos = iterate(rule, *arguments, 1)
    gradient, hessian = dense(*arguments, start)
    values = np.linalg.eigvalsh(hessian)
    assert values[0] > 0
    np.testing.assert_allclose(infos[0]["largest"], values[-1], rtol=1e-9)
    step = np.linalg.solve(hessian + 1e-2 * values[-1] * np.eye(5), gradient)
    np.testing.assert_allclose(x[1], start - step, rtol=1e-9)


def test_the_approximation_of_a_low_rank_matrix_is_exact():
    """And that of an indefinite one has its positive part near the span of few vectors."""
    basis = np.linalg.qr(random(30, 3))[0]
    matrix = jnp.asarray(basis @ np.diag([1.0, 1e-2, 5.0]) @ basis.T)
    vectors, values = nystrom(lambda v: matrix @ v, jnp.asarray(random(30, 6)))
    np.testing.assert_allclose(vectors * values @ vectors.T, matrix, atol=1e-10)
    np.testing.assert_allclose(values[-3:], [1e-2, 1, 5], rtol=1e-8)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(6), atol=1e-12)


def test_the_preconditioner_saves_iterations():
    """Ten eigenvalues far above a flat rest: without them the condition number is 1."""
    left = np.linalg.qr(random(60, 40))[0]
    right = np.linalg.qr(random(40, 40))[0]
    matrix = left @ np.diag(np.sqrt([*np.logspace(6, 3, 10), *np.ones(30)])) @ right
    arguments = case(matrix, random(60), random(40))
    made = {}
    for rank in (1, 20):
        rule = NNCG(rank=rank, damping=1e-12, tolerance=1e-6, iterations=400)
        _, _, infos = iterate(rule, *arguments, 1)
        made[rank] = int(infos[0]["iterations"])
    assert made[20] < 0.5 * made[1]


def test_a_direction_of_negative_curvature_still_lowers_the_loss():
    """L = |sin x|^2 / 2 at x = 1.4, near its maximum."""
    matrix, target = np.diag([1.0, 1.0]), np.array([0.0, 0.0])
    arguments = case(matrix, target, np.array([0.2, 1.4]), "sine")
    hessian = dense(*arguments, np.array([0.2, 1.4]))[1]
    assert np.linalg.eigvalsh(hessian)[0] < 0
    _, state, infos = iterate(NNCG(), *arguments, 30)
    losses = [float(info["loss"]) for info in infos]
    assert all(np.diff(losses) <= 0)
    assert losses[-1] < 1e-12
    assert NNCG().converged(state._replace(failures=jnp.int32(FAILURES)))


def test_adahessian_divides_by_the_diagonal():
    """z * H z is the diagonal for every z if H is diagonal: the first step is eta g / H."""
    scales, target, start = np.array([3.0, 1.0, 0.1]), random(3), random(3)
    rule = AdaHessian(learning_rate=0.5, eps=1e-12)
    x, _, infos = iterate(rule, *case(np.diag(scales), target, start), 1)
    gradient = scales * (scales * start - target)
    np.testing.assert_allclose(x[1], start - 0.5 * gradient / scales**2, rtol=1e-9)
    assert (infos[0]["n_simulate"], infos[0]["n_vjp"]) == (3, 3)


def test_the_mean_square_of_the_diagonal_has_the_variance_of_the_probes():
    """E (z * Hz)_i^2 = sum_j H_ij^2."""
    matrix = random(4, 4)
    rule = AdaHessian(learning_rate=1e-12, b2=0.999)
    _, state, _ = iterate(rule, *case(matrix, random(4), random(4)), 800)
    hessian = matrix.T @ matrix
    square = jax.tree.leaves(state.optimizer.square)[0].ravel() / (1 - 0.999**800)
    np.testing.assert_allclose(square, np.sum(hessian**2, axis=1), rtol=0.25)


def test_a_physics_without_second_derivatives_is_refused_in_words():
    objective, params, batch = case(random(3, 2), random(3), random(2), "callback")
    for rule in (NNCG(), AdaHessian()):
        with pytest.raises(PlanError, match="no second derivatives"):
            rule.plan(objective, params, batch)
