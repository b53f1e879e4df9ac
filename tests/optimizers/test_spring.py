"""SPRING: minimum-norm steps and the momentum against dense NumPy."""

import jax
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from linear_model import case, iterate, random
from tiny import Tiny

from physopt.machine.devices import cast
from physopt.objective import build, flatten
from physopt.optimizers.spring import Spring

FREE = Spring(learning_rate=1.0, norm_constraint=None)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def corrected(a, r, last, momentum, damping):
    """mu d + A^T (A A^T + lambda I)^-1 (r - mu A d)."""
    gram = a @ a.T
    shift = damping * np.linalg.eigvalsh(gram)[-1] * np.eye(len(r))
    remaining = r - momentum * a @ last
    return momentum * last + a.T @ np.linalg.solve(gram + shift, remaining)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
@pytest.mark.parametrize("function", ["linear", "reverse_only"])
def test_steps_on_a_linear_model(shape, function):
    matrix, target, start = random(*shape), random(shape[0]), random(shape[1])
    rule = FREE.replace(momentum=0.7, damping=1e-2, learning_rate=0.3)
    x, _, _ = iterate(rule, *case(matrix, target, start, function), 4)
    expected, direction = start, np.zeros(shape[1])
    for actual in x[1:]:
        direction = corrected(matrix, matrix @ expected - target, direction, 0.7, 1e-2)
        expected = expected - 0.3 * direction
        np.testing.assert_allclose(actual, expected, rtol=1e-7)


def test_the_first_step_reaches_the_solution_of_minimum_norm():
    matrix, target = random(4, 9), random(4)
    x, _, _ = iterate(FREE.replace(damping=1e-13), *case(matrix, target, np.zeros(9)), 1)
    np.testing.assert_allclose(x[1], np.linalg.pinv(matrix) @ target, rtol=1e-8)


def test_momentum_keeps_what_a_batch_does_not_determine():
    """Of d_last the part in the kernel of A stays, times mu; the rest follows the residuals."""
    matrix, target, start = random(2, 6), random(2), random(6)
    x, state, _ = iterate(
        FREE.replace(momentum=0.9, damping=1e-13), *case(matrix, target, start), 2
    )
    # After a full step the residual is 0, and so is A d.
    np.testing.assert_allclose(matrix @ x[2], target, atol=1e-9)
    (direction,) = jax.tree.leaves(state.direction)
    np.testing.assert_allclose(matrix @ direction.ravel(), 0, atol=1e-9)


@pytest.mark.parametrize("method", ["layerwise", "columns"])
def test_steps_of_a_network(method):
    problem, size = Tiny(), 5
    objective, params = build(problem, "default", 0)
    batches = [problem.sample(jax.random.split(jax.random.key(k), size)).at(0.0) for k in (0, 1)]
    params, batches = cast((params, batches), "float64")
    rule = FREE.replace(momentum=0.8, damping=1e-3, method=method, learning_rate=0.5)
    state, update = rule.init(objective, params, jax.random.key(0)), jax.jit(rule.update)
    last = np.zeros(objective.parameter_count)
    for batch in batches:  # the second one has other samples
        flat, unravel = ravel_pytree(params)

        def outputs(flat, batch=batch, unravel=unravel):
            return flatten(objective.outputs(unravel(flat), batch)).ravel()

        a = np.asarray(jax.jacrev(outputs)(flat)) / size**0.5
        r = np.asarray(outputs(flat) - flatten(batch.target).ravel()) / size**0.5
        last = corrected(a, r, last, 0.8, 1e-3)
        step, state, info = update(objective, params, state, batch, jax.random.key(0))
        np.testing.assert_allclose(ravel_pytree(step)[0], -0.5 * last, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(info["grad_norm"], np.linalg.norm(a.T @ r), rtol=1e-9)
        params = optax.apply_updates(params, step)


def test_no_step_is_longer_than_the_norm_constraint():
    matrix, target = random(4, 9), 100 * random(4)
    x, _, infos = iterate(Spring(norm_constraint=0.04), *case(matrix, target, np.zeros(9)), 3)
    lengths = np.linalg.norm(np.diff(x, axis=0), axis=1)
    np.testing.assert_allclose(lengths, 0.2, rtol=1e-9)
    assert all(info["length"] < 0.1 for info in infos)


def test_a_tpu_is_refused_with_a_remedy():
    from physopt.machine.devices import programs_for

    objective, _ = build(Tiny(), "default", 0)
    with programs_for("tpu"):
        assert "gram_dtype=float32" in str(Spring().refuses(objective))
        assert Spring(gram_dtype="float32", damping=1e-4).refuses(objective) is None
