"""The conflict of steps that samples ask for, and the damping that limits it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.numerics.conflict import DAMPINGS, HARMLESS, SAMPLES, conflict, suited_damping


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)


def reference(jacobian, residual, damping):
    """Return R with loops over samples, from the definition."""
    size, outputs, _ = jacobian.shape
    squares = np.zeros((size, size))
    for i, (a, r) in enumerate(zip(jacobian, residual, strict=True)):
        gram = a @ a.T
        gram += damping * np.trace(gram) / outputs * np.eye(outputs)
        step = -a.T @ np.linalg.solve(gram, r)
        for j, other in enumerate(jacobian):
            squares[i, j] = np.sum((other @ step) ** 2)
    own = np.trace(squares)
    return (squares.sum() - own) / (size - 1) / own


def chosen(jacobian, residual):
    return float(suited_damping(jnp.asarray(jacobian), jnp.asarray(residual), jnp.float64))


def crossed(size, weak=1e-3):
    """Return Jacobians [size, 2, 1 + size] whose weak outputs have directions of their own.

    Direction i moves the weak output of sample i by `weak`, and the strong one of all others by 1.
    """
    jacobian = np.zeros((size, 2, 1 + size))
    jacobian[:, 0, 0] = 2
    for i in range(size):
        jacobian[i, 1, 1 + i] = weak
        jacobian[np.arange(size) != i, 0, 1 + i] = 0.1
    return jacobian


@pytest.mark.parametrize("damping", DAMPINGS)
@pytest.mark.parametrize("shape", [(5, 3, 8), (4, 6, 2), (2, 1, 1)])
def test_it_is_the_change_of_other_samples_over_the_change_at_home(shape, damping):
    jacobian, residual = random(*shape), random(*shape[:2])
    found = conflict(jnp.asarray(jacobian), jnp.asarray(residual), damping, jnp.float64)
    np.testing.assert_allclose(found, reference(jacobian, residual, damping), rtol=1e-10)


def test_samples_that_respond_alike_need_no_damping():
    jacobian = np.repeat(random(1, 3, 7), 6, axis=0)
    residual = random(6, 3)
    for damping in DAMPINGS:
        found = conflict(jnp.asarray(jacobian), jnp.asarray(residual), damping, jnp.float64)
        np.testing.assert_allclose(found, 1, rtol=1e-12)
    assert chosen(jacobian, residual) == DAMPINGS[0]


def test_steps_that_disturb_others_are_damped():
    """Undamped, the step for a weak output is 1 / weak long, and changes the others by 0.1 / weak.

    A damping d divides it by about d tr(A A^T) / 2 / weak^2.
    """
    jacobian, residual = crossed(4, weak=1e-2), np.tile([0.1, 1.0], (4, 1))
    conflicts = np.array([reference(jacobian, residual, damping) for damping in DAMPINGS])
    assert conflicts[0] > 2, "the smallest damping does harm"
    least = max(HARMLESS, 1.1 * conflicts.min())
    assert chosen(jacobian, residual) == DAMPINGS[np.flatnonzero(conflicts <= least)[0]] > 1e-2


def test_units_and_the_order_of_samples_do_not_matter():
    jacobian, residual = crossed(4, weak=1e-2), np.tile([0.1, 1.0], (4, 1))
    expected = chosen(jacobian, residual)
    assert chosen(1e6 * jacobian, residual) == expected
    assert chosen(jacobian, 1e-6 * residual) == expected
    order = [2, 0, 3, 1]
    assert chosen(jacobian[order], residual[order]) == expected


def test_the_first_samples_of_a_large_batch_decide():
    jacobian, residual = random(3 * SAMPLES, 2, 3), random(3 * SAMPLES, 2)
    assert chosen(jacobian, residual) == chosen(jacobian[:SAMPLES], residual[:SAMPLES])


@pytest.mark.parametrize("size", [1, 3])
def test_without_other_samples_or_without_steps_nothing_is_damped(size):
    jacobian = random(size, 2, 3) * (size == 1)
    assert chosen(jacobian, random(size, 2)) == DAMPINGS[0]


def test_a_sample_whose_physics_fails_does_not_decide():
    jacobian, residual = crossed(4, weak=1e-2), np.tile([0.1, 1.0], (4, 1))
    expected = chosen(jacobian, residual)
    jacobian, residual = (np.concatenate([v, v[:1]]) for v in (jacobian, residual))
    jacobian[-1] = np.nan
    assert chosen(jacobian, residual) == expected
