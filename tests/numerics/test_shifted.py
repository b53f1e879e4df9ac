"""Powers by shifted Cholesky factorisations against NumPy's singular value decomposition.

The exact direction is V f(S) U^T g, and `error` its relative error. Without a singular value below
the cutoff it is at most the tolerance for every g, apart from rounding: a shifted matrix of
condition c is solved to about c eps, which is 2e-6 for c = 1e10 and below all tolerances here.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from physopt.numerics.rational import rational_power
from physopt.numerics.shifted import MARGIN, ShiftedPower, resolution, shifted_gram_power

N = 60


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def jacobian(singular_values, seed=0):
    rng = np.random.default_rng(seed)
    n = len(singular_values)
    u, v = (np.linalg.qr(rng.normal(size=(rows, n)))[0] for rows in (n, n + 10))
    return u * singular_values @ v.T


def vector(n=N):
    return np.random.default_rng(1).normal(size=n)


def direction(j, g, kappa, tau=0.0, damping=0.0):
    u, s, vt = np.linalg.svd(j, full_matrices=False)
    weights = np.where(s >= tau * s[0], s, np.inf) ** kappa
    if damping:
        weights = s * (s**2 + (damping * s[0]) ** 2) ** ((kappa - 1) / 2)
    return vt.T @ (weights * (u.T @ g))


def error(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def shifted(kappa, least, tolerance=1e-3, together=False):
    rational = rational_power((1 - kappa) / 2, least, tolerance)
    return ShiftedPower(rational, tolerance, together)


def damped(kappa, damping, tolerance=1e-3, together=False):
    least = max(0.9 * damping**2 / (MARGIN + damping**2), resolution(N, np.float64))
    power = shifted(kappa, least, 0.9 * tolerance, together)
    return power._replace(tolerance=tolerance)


def apply(power, j, g, tau=1e-5, damping=0.0):
    function = jax.jit(partial(shifted_gram_power, power=power, rcond=tau, damping=damping))
    return function(j @ j.T, g)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kappa", [-1.0, -0.5, 0.3, 1.0])
@pytest.mark.parametrize("least", [0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-5])
def test_a_cutoff_below_all_singular_values(kappa, least, tolerance):
    j, g = jacobian(np.geomspace(1, least, N)), vector()
    result, exact = apply(shifted(kappa, 1e-10, tolerance), j, g)
    assert error(j.T @ result.coefficients, direction(j, g, kappa)) < tolerance
    assert exact == 0
    assert result.rank == N
    np.testing.assert_allclose(result.largest, 1, rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("weight", ["smallest", "largest"])
def test_the_bound_holds_for_the_worst_gradient(weight):
    """A single singular value takes the error of the approximation at its own eigenvalue."""
    for least in np.geomspace(1.1e-5, 1e-3, 12):
        j = jacobian(np.geomspace(1, least, N))
        u = np.linalg.svd(j)[0]
        g = u[:, -1 if weight == "smallest" else 0]
        result, exact = apply(shifted(-0.5, 1e-10), j, g)
        assert exact == 0
        assert error(j.T @ result.coefficients, direction(j, g, -0.5)) < 1e-3


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dropped", [1, 20])
def test_a_singular_value_below_the_cutoff_is_dropped_exactly(dropped):
    s = np.geomspace(1, 1e-2, N)
    s[-dropped:] = np.geomspace(0.9e-4, 0.5e-4, dropped)
    j, g = jacobian(s), vector()
    result, exact = apply(shifted(-0.5, 1e-8), j, g, tau=1e-4)
    assert exact == 1
    assert result.rank == N - dropped
    assert error(j.T @ result.coefficients, direction(j, g, -0.5, tau=1e-4)) < 1e-6


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("kappa", [-1.0, -0.5])
@pytest.mark.parametrize("damping", [10.0, 0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("together", [False, True])
def test_damping_and_a_jacobian_of_full_rank(kappa, damping, together):
    j, g = jacobian(np.geomspace(1, 2e-5, N)), vector()
    result, exact = apply(damped(kappa, damping, together=together), j, g, damping=damping)
    expected = direction(j, g, kappa, damping=damping)
    assert error(j.T @ result.coefficients, expected) < 1e-3
    assert exact == 0


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("damping", "exact"), [(0.3, 0), (3e-2, 0), (1e-4, 1)])
@pytest.mark.parametrize("kappa", [-1.0, -0.5])
def test_damping_and_zero_singular_values(kappa, damping, exact):
    """With little damping their rounding noise would be amplified, so eigenvectors are used."""
    s = np.geomspace(1, 1e-2, N)
    s[-25:] = 0
    j, g = jacobian(s), vector()
    result, decomposed = apply(damped(kappa, damping), j, g, damping=damping)
    assert decomposed == exact
    assert error(j.T @ result.coefficients, direction(j, g, kappa, damping=damping)) < 1e-3
    assert np.isnan(result.rank) or result.rank == N - 25


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n", [5, 255, 256, 300])
def test_solves_with_all_factors_at_once_are_the_same(n):
    j, g = jacobian(np.geomspace(1, 1e-3, n)), vector(n)
    one, all_at_once = (
        apply(shifted(-0.5, 1e-10, together=together), j, g)[0] for together in (False, True)
    )
    # Coefficients are solutions of systems with condition 1e6.
    assert error(all_at_once.coefficients, np.asarray(one.coefficients)) < 1e-9


def test_a_float32_program_without_and_with_a_float32_matrix():
    j, g = jacobian(np.geomspace(1, 1e-2, N)).astype(np.float32), vector().astype(np.float32)
    expected = direction(j.astype(float), g.astype(float), -0.5)
    with jax.enable_x64(True):
        gram = jnp.asarray(j.astype(float) @ j.astype(float).T)
    result, exact = jax.jit(partial(shifted_gram_power, power=shifted(-0.5, 1e-10), rcond=1e-5))(
        gram, g
    )
    assert result.coefficients.dtype == jnp.float32
    assert error(j.T @ result.coefficients, expected) < 1e-3
    assert exact == 0
    # In float32 eigenvalues below 64 eps are rounding: s > 2.8e-3.
    power = shifted(-0.5, resolution(N, np.float32))
    with pytest.warns(UserWarning, match="1e-2"):
        result, exact = shifted_gram_power(j @ j.T, g, power, 5e-3, dtype=np.float32)
    assert exact == 0
    assert error(j.T @ result.coefficients, expected) < 5e-2


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_a_matrix_of_zeros_gives_zeros(damping):
    power = damped(-0.5, damping) if damping else shifted(-0.5, 1e-10)
    result, exact = shifted_gram_power(np.zeros((N, N)), vector(), power, 1e-5, damping)
    assert exact == 1
    assert not any(np.any(part) for part in result)


@pytest.mark.usefixtures("x64")
def test_what_is_not_a_number_stays_visible():
    j, g = jacobian(np.geomspace(1, 1e-2, N)), vector()
    power = shifted(-0.5, 1e-10)
    broken = j @ j.T
    broken[3, 3] = np.nan
    assert np.all(np.isnan(shifted_gram_power(broken, g, power, 1e-5)[0].coefficients))
    g[3] = np.nan
    assert np.all(np.isnan(shifted_gram_power(j @ j.T, g, power, 1e-5)[0].coefficients))


@pytest.mark.usefixtures("x64")
def test_a_batch_of_matrices():
    js = np.stack(
        [jacobian(np.geomspace(1, least, N), seed) for seed, least in enumerate([0.1, 1e-7])]
    )
    grams, g = js @ js.transpose(0, 2, 1), vector()
    function = partial(shifted_gram_power, power=shifted(-0.5, 1e-10), rcond=1e-5)
    results, exact = jax.jit(jax.vmap(function, (0, None)))(grams, g)
    np.testing.assert_array_equal(exact, [0, 1])
    for gram, coefficients in zip(grams, results.coefficients, strict=True):
        np.testing.assert_allclose(coefficients, function(gram, g)[0].coefficients, rtol=1e-6)
