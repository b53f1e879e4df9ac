"""Hessian-free: conjugate gradients against closed forms, damping, backtracking, line search."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_model import case, iterate, random

from physopt.optimizers.hessian_free import Conjugate, HessianFree

UNDAMPED = HessianFree(damping=1e-14)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("function", ["linear", "reverse_only"])
def test_a_linear_least_squares_problem_is_solved_in_one_update(function):
    """P = 5 unknowns: conjugate gradients end after 5 iterations, up to rounding."""
    matrix, target = random(9, 5), random(9)
    x, _, infos = iterate(UNDAMPED, *case(matrix, target, np.zeros(5), function), 1)
    np.testing.assert_allclose(x[1], np.linalg.lstsq(matrix, target, rcond=None)[0], rtol=1e-8)
    assert infos[0]["length"] == 1
    np.testing.assert_allclose(infos[0]["gain"], 1, rtol=1e-9)
    physics = 2 + infos[0]["iterations"]
    # Forward mode sees the physics in every product, dy/dx of 9 outputs once.
    assert infos[0]["n_vjp"] == (1 + physics if function == "linear" else 9)


def conjugate_gradients(matrix, right, iterations):
    x, residual = np.zeros_like(right), right
    direction = residual
    for _ in range(iterations):
        alpha = residual @ residual / (direction @ matrix @ direction)
        x, after = x + alpha * direction, residual - alpha * matrix @ direction
        direction = after + after @ after / (residual @ residual) * direction
        residual = after
    return x


@pytest.mark.parametrize("iterations", [1, 2, 6])
def test_a_step_is_that_of_conjugate_gradients_on_the_damped_normal_equations(iterations):
    """A quadratic loss falls along the iterations, so that none of them is taken back."""
    matrix, target, start = random(30, 20), random(30), random(20)
    rule = HessianFree(damping=0.5, iterations=iterations)
    x, _, infos = iterate(rule, *case(matrix, target, start), 1)
    gradient = matrix.T @ (matrix @ start - target)
    image = matrix @ gradient
    damping = 0.5 * (image @ image) / (gradient @ gradient)
    np.testing.assert_allclose(infos[0]["damping"], damping, rtol=1e-12)
    system = matrix.T @ matrix + damping * np.eye(20)
    expected = start - conjugate_gradients(system, gradient, iterations)
    np.testing.assert_allclose(x[1], expected, rtol=1e-9)
    assert infos[0]["iterations"] == iterations


def test_conjugate_gradients_begin_at_the_last_solution():
    """With warm_start w after one iteration along the residual of w d."""
    matrix, target, start = random(30, 20), random(30), random(20)
    rule = HessianFree(damping=0.5, iterations=1, warm_start=0.8)
    x, _, infos = iterate(rule, *case(matrix, target, start), 2)
    gradient = matrix.T @ (matrix @ x[1] - target)
    # The model is exact, rho = 1, so that the damping has become smaller.
    np.testing.assert_allclose(infos[1]["damping"], 2 / 3 * infos[0]["damping"], rtol=1e-12)
    system = matrix.T @ matrix + float(infos[1]["damping"]) * np.eye(20)
    begin = 0.8 * (x[0] - x[1])
    residual = gradient - system @ begin
    alpha = residual @ residual / (residual @ system @ residual)
    np.testing.assert_allclose(x[2], x[1] - begin - alpha * residual, rtol=1e-9)


def test_the_damping_rises_where_the_model_fails_and_every_step_lowers_the_loss():
    """Far from its minimum x + x^3 / 10 is nearly cubic: the first Gauss-Newton steps are long."""
    matrix, target = np.diag([1.0, 0.3, 0.1]), np.array([1.0, 2.0, 3.0])
    arguments = case(matrix, target, np.array([0.1, 8.0, 0.0]), "bent")
    _, _, infos = iterate(HessianFree(damping=1e-8), *arguments, 60)
    losses = [float(info["loss"]) for info in infos]
    assert all(after <= before for before, after in itertools.pairwise(losses))
    gains = [float(info["gain"]) for info in infos]
    dampings = [float(info["damping"]) for info in infos]
    for gain, before, after in zip(gains, dampings, dampings[1:], strict=False):
        factor = 2 / 3 if gain > 0.75 else 1.5 if gain < 0.25 else 1
        np.testing.assert_allclose(after, factor * before, rtol=1e-12)
    assert losses[-1] < 1e-12 * losses[0]


def test_steps_that_fit_their_batch_alone_raise_the_damping():
    """Targets change sign in every update: what one batch gains the next one loses."""
    matrix, target = random(4, 6), random(4)
    objective, x, batch = case(matrix, target, np.zeros(6))
    rule, key = HessianFree(), jax.random.key(0)
    update, state, dampings = jax.jit(rule.update), rule.init(objective, x, key), []
    for _ in range(8):
        step, state, info = update(objective, x, state, batch, key)
        x = optax.apply_updates(x, step)
        batch = dataclasses.replace(batch, target=-batch.target)
        dampings.append(float(info["damping"]))
    assert all(np.divide(dampings[2:], dampings[1:-1]) >= 4)


def test_solutions_are_kept_at_growing_distances():
    assert HessianFree(iterations=12)._marks() == [1, 2, 3, 4, 5, 7, 9, 11, 12]
    assert HessianFree(iterations=1)._marks() == [1]
    assert len(HessianFree()._marks()) < 25


def test_the_solution_is_taken_before_which_the_loss_begins_to_rise():
    rule = HessianFree(iterations=7)  # kept after 1, 2, 3, 4, 5, 7
    zero = jnp.zeros(1)
    kept = jnp.arange(6.0)[:, None]
    for made, expected in ((7, 2), (4, 2), (2, 1), (1, 0)):
        end = Conjugate(zero, zero, zero, zero[0], zero, kept, jnp.int32(made))
        d, _ = rule._backtracked(end, lambda d: jnp.abs(d[0] - 2))
        assert d[0] == expected
