"""Exponential, sine and toy: their inverse steps, measures and data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from physopt.problem import Batch
from physopt.problems.exponential import Exponential
from physopt.problems.sine import Sine
from physopt.problems.toy import Toy


def keys(number):
    return jax.random.split(jax.random.key(0), number)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("problem", [Exponential(), Sine(phi=30.0, xi=3.0), Toy()])
def test_gradient_agrees_with_central_differences(problem):
    with jax.enable_x64(True):
        batch = problem.sample(keys(3))
        x = jnp.asarray(normal(0, *batch.target.shape))
        check_grads(lambda x: problem.simulate(x, batch), (x,), order=1, modes=["rev"])


# --- exponential


def test_newton_steps_find_every_exponent():
    problem = Exponential()
    with jax.enable_x64(True):
        batch = problem.sample(keys(64))
        x = jnp.zeros((64, 1))
        invert = jax.jit(problem.invert)
        for _ in range(40):  # steps of 1/2 as long as y is far above y*, from 0 to -12
            x = invert(x, batch)
        # Quadratic convergence to the rounding of log y.
        np.testing.assert_allclose(x, batch.extra, atol=1e-12)


def test_newton_step_is_limited_and_damped():
    target = jnp.full((3, 1), 0.5)
    batch = Batch(target, target, extra=jnp.log(target))
    x = jnp.log(jnp.asarray([[0.25], [0.5], [2.0]]))  # vanishing h, the solution, far above it
    steps = Exponential(largest_step=0.1).invert(x, batch) - x
    np.testing.assert_allclose(steps[:, 0], [0.1, 0, -0.1], atol=1e-6)
    g, h = (2 - 0.5) * 2, (2 * 2 - 0.5) * 2
    damped = Exponential(damping=1.0).invert(x, batch) - x
    assert float(damped[2, 0]) == pytest.approx(-g / (h + 1), rel=1e-5)  # float32


def test_sign_step_goes_one_towards_the_solution():
    problem = Exponential(inverse="sign")
    batch = problem.sample(keys(64))
    x = jnp.zeros((64, 1))
    step = problem.invert(x, batch) - x
    np.testing.assert_array_equal(step, -1)  # all true x are negative
    np.testing.assert_allclose(problem.metrics(x, x, batch)["x_error"], -batch.extra[:, 0])


def test_exponents_are_uniform():
    batch = Exponential().sample(keys(4096))
    x = np.asarray(batch.extra)
    assert x.min() >= -12
    assert x.max() <= 0
    # Standard error 12/sqrt(12 * 4096) = 0.054 of the mean; five of them.
    assert x.mean() == pytest.approx(-6, abs=0.27)
    assert x.std() == pytest.approx(12 / np.sqrt(12), rel=0.05)
    np.testing.assert_allclose(batch.target, np.exp(x), rtol=1e-6)


# --- sine


def saddle_free(gradient, hessian):
    """The step of one sample by a general eigendecomposition of the loss's Hessian."""
    values, vectors = np.linalg.eigh(hessian)
    slope = vectors.T @ gradient
    newton = np.abs(slope / values)
    steep = values > np.sqrt(np.abs(values.prod()))
    size = np.where(steep, newton, np.minimum(newton, 0.2 / np.abs(slope)))
    return vectors @ (-np.sign(slope) * size)


@pytest.mark.parametrize(("xi", "phi"), [(1.5, 0.0), (3.0, 30.0), (32.0, 45.0)])
def test_inverse_step_is_saddle_free_newton_in_the_eigenbasis(xi, phi):
    problem = Sine(xi=xi, phi=phi)

    def loss(x, target):
        batch = Batch((), target[None])
        return problem.loss(problem.simulate(x[None], batch), batch)[0]

    with jax.enable_x64(True):
        target = problem.sample(keys(12)).target
        x = jnp.asarray(2 * normal(1, 12, 2)) / problem.slopes @ problem.rotation
        actual = problem.invert(x, Batch(target, target)) - x
        derivatives = jax.jit(
            jax.vmap(lambda *pair: (jax.grad(loss)(*pair), jax.hessian(loss)(*pair)))
        )
        slopes, hessians = map(np.asarray, derivatives(x, target))
    definite = np.linalg.det(hessians) > 0
    assert definite.any()
    assert not definite.all()
    expected = np.stack([saddle_free(*pair) for pair in zip(slopes, hessians, strict=True)])
    # A Hessian with condition number xi^4, up to 1e6, loses so many digits in eigh.
    np.testing.assert_allclose(actual, expected, atol=1e-7)


@pytest.mark.parametrize(("xi", "phi"), [(1.0, 45.0), (32.0, 45.0)])
def test_inverse_steps_reach_the_nearest_solution(xi, phi):
    problem = Sine(xi=xi, phi=phi)
    with jax.enable_x64(True):
        batch = problem.sample(keys(200))
        x = jnp.asarray(normal(2, 200, 2)) / problem.slopes @ problem.rotation
        begin = problem.metrics(x, x, batch)["x_distance"]
        invert, end = jax.jit(problem.invert), x
        for _ in range(60):
            end = invert(end, batch)
        left = problem.metrics(end, end, batch)["x_distance"]
        # The last steps are Newton's, quadratic except where the sine touches y* = 1.
        assert float(jnp.max(left * problem.slopes[0])) < 1e-6
        moved = jnp.linalg.norm(end - x, axis=-1)
        # The sine is monotone between its peaks, and each such piece holds the solution nearest to
        # its points. A step may leave it only at large curvature, which is near the solution.
        assert float(jnp.mean(moved <= begin * (1 + 1e-6) + 1e-6)) == 1


def test_distance_is_to_the_nearest_of_all_solutions():
    problem = Sine(xi=2.0, phi=20.0)
    with jax.enable_x64(True):
        batch = problem.sample(keys(50))
        x = jnp.asarray(3 * normal(3, 50, 2))
        actual = problem.metrics(x, x, batch)["x_distance"]
        y1, y2 = np.asarray(batch.target).T
        turns = 2 * np.pi * np.arange(-20, 21)[:, None]
        phases = np.concatenate([np.arcsin(y1) + turns, np.pi - np.arcsin(y1) + turns])
        z = np.stack([phases / 5, np.broadcast_to(y2 / 20, phases.shape)], axis=-1)
        solutions = z @ problem.rotation  # rows R^T z
        y = np.stack([problem.simulate(jnp.asarray(s), batch) for s in solutions[::8]])
        np.testing.assert_allclose(y, np.broadcast_to(batch.target, y.shape), atol=1e-12)
        every = np.linalg.norm(np.asarray(x) - solutions, axis=-1)
        np.testing.assert_allclose(actual, every.min(axis=0), atol=1e-12)


def test_target_values_are_uniform():
    y = np.asarray(Sine().sample(keys(4096)).target)
    # Standard errors 1/sqrt(3 * 4096) = 0.009 of the mean, 0.0047 of the mean square.
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=0.045)
    np.testing.assert_allclose((y**2).mean(axis=0), 1 / 3, atol=0.024)


# --- toy


def test_toy_is_two_curves_with_one_scaled():
    problem = Toy(gamma=0.1)
    network = problem.network(nnx.Rngs(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(nnx.state(network, nnx.Param))) == 30
    batch = problem.sample(keys(4096))
    c = np.asarray(batch.inputs)[:, 0]
    assert c.mean() == pytest.approx(0, abs=0.045)  # five standard errors
    np.testing.assert_allclose(batch.target, np.stack([np.sin(6 * c), np.cos(9 * c)], 1), atol=1e-5)
    x = jnp.asarray(normal(4, 4096, 2), jnp.float32)
    np.testing.assert_allclose(
        problem.simulate(x, batch), x * np.array([1, 0.1], np.float32), rtol=1e-6
    )
    solved = problem.invert(x, batch)
    np.testing.assert_allclose(problem.simulate(solved, batch), batch.target, atol=1e-6)
    # The same distance in y and, the second component ten times larger, in x.
    away = solved + jnp.asarray([0.3, 4.0])
    metrics = problem.metrics(away, problem.simulate(away, batch), batch)
    np.testing.assert_allclose(metrics["squared_error"], 0.25, atol=1e-4)
    np.testing.assert_allclose(metrics["x_error"], np.hypot(0.3, 4), atol=1e-4)
