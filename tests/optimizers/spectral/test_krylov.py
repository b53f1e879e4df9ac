"""The Krylov method on Jacobians with fewer directions than it makes steps."""

import jax.numpy as jnp
import numpy as np
import pytest

from physopt.objective import Linearised
from physopt.optimizers.spectral.directions import Power
from physopt.optimizers.spectral.krylov import by_krylov

DAMPING = 0.2
POWER = Power(-0.5, 1e-5, absolute=False, damping=DAMPING, dtype="float64")


def linear_system(matrix, g):
    """y = J theta, in float32. Without samples, only products with J and J^T are defined."""
    j, g = jnp.asarray(matrix, jnp.float32), jnp.asarray(g, jnp.float32)
    theta = jnp.zeros(j.shape[1], g.dtype)

    def outputs(theta, samples):
        assert samples is None, "not a product with J or J^T"
        return (j @ theta)[None]

    return Linearised(
        None, jnp.float32(0), g, theta, None, outputs, pull=lambda c: j.T @ c
    )  # fmt: skip


@pytest.mark.parametrize("outputs", [40, 160])
@pytest.mark.parametrize("ratio", [0.3, 0.1, 0.01])
@pytest.mark.parametrize("rank", [3, 8])
def test_steps_beyond_the_rank_change_nothing(rank, ratio, outputs):
    # Singular values 1, ratio, ratio^2, ...: after `rank` steps, or once ratio^k is below rounding,
    # the remainder of a new vector is rounding. Kept as a direction, or dropped too early, it has a
    # singular value of at most some 10 eps = 1.2e-6, which the damped power multiplies by at most
    # 0.2^(-3/2) = 11: an error of 1e-5, times the few directions concerned.
    random = np.random.default_rng(0)
    u = np.linalg.qr(random.normal(size=(outputs, rank)))[0]
    v = np.linalg.qr(random.normal(size=(300, rank)))[0]
    s = ratio ** np.arange(rank)
    g = random.normal(size=outputs)
    solution = by_krylov(linear_system((u * s) @ v.T, g), POWER, steps=30)
    expected = v @ (s * (s**2 + DAMPING**2) ** -0.75 * (u.T @ g))
    error = np.linalg.norm(solution.direction - expected) / np.linalg.norm(expected)
    assert error < 1e-4
    assert float(solution.spectrum.largest) == pytest.approx(1, rel=1e-5)
    assert float(solution.extra["krylov_change"]) < 1e-4


def test_no_gradient_has_no_direction():
    matrix = np.random.default_rng(0).normal(size=(6, 20))
    solution = by_krylov(linear_system(matrix, np.zeros(6)), POWER, steps=30)
    assert not np.any(solution.direction)
    assert float(solution.extra["krylov_change"]) == 0


def test_a_gradient_that_is_not_a_number_stays_one():
    matrix = np.random.default_rng(0).normal(size=(6, 20))
    solution = by_krylov(linear_system(matrix, np.full(6, np.nan)), POWER, steps=30)
    assert np.all(np.isnan(solution.direction))
