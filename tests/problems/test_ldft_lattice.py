"""The lattice density functional theory simulator: known answers, derivatives, limits."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ldft_numpy
import numpy as np
import pytest

from physopt.problems.ldft import Fluid, grand_potential, isotherm, isotherm_and_jacobian
from physopt.problems.ldft.lattice import log_activity, matrix_field, sweep

HUMIDITIES = np.arange(1, 41) / 40
REFERENCE = np.load(Path(__file__).parent.parent / "data" / "ldft_reference.npz")
KT = 0.0019872041 * 298


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def relaxed(shape, seed=0):
    """Pore fractions between 0 and 1, on a lattice too small and too smooth for avalanches."""
    return np.random.default_rng(seed).uniform(size=shape)


@partial(jax.jit, static_argnames=("dimensions", "tolerance", "humidities", "fluid"))
def both_branches(pores, dimensions, tolerance=None, humidities=None, fluid=None):
    return isotherm(
        pores,
        dimensions=dimensions,
        humidities=humidities,
        desorption=True,
        tolerance=tolerance,
        fluid=fluid or Fluid(),
        return_convergence=True,
    )


# --- values


def test_matrices_with_known_isotherms(double):
    single, full, none, slit = np.zeros((4, 20, 20))
    single[3, 4], full[:], slit[:-1] = 1, 1, 1
    uptake, _ = both_branches(jnp.stack([single, full, none, slit]), 2, 1e-12)
    attraction, mu = 4 * 647 / 298, np.log(HUMIDITIES) - 2 * 647 / 298
    # A single pore has four solid neighbours and no fluid: one sweep is exact up to rounding.
    alone = 1 / (1 + np.exp(-(mu + 1.5 * attraction)))
    np.testing.assert_allclose(uptake[0, :40], alone, atol=1e-14)
    # Without solid the density is uniform and solves s = sigmoid(mu + c w s), least root.
    uniform = np.zeros(40)
    for _ in range(20_000):
        uniform = 1 / (1 + np.exp(-(mu + attraction * uniform)))
    # At a simple root 1e-12 is multiplied by the response 1 / (1 - r) < 1e3.
    np.testing.assert_allclose(uptake[1, :40], uniform, atol=1e-9)
    assert (uptake[2] == 0).all()
    # A slit is uniform along its walls: two equal neighbours, and the profile across it.
    eta, film = slit[:, 0], np.zeros((40, 20))
    solid = mu[:, None] + 1.5 * attraction / 4 * ldft_numpy.neighbours(1 - eta)
    for _ in range(20_000):
        across = np.roll(film, 1, 1) + np.roll(film, -1, 1)
        film = eta / (1 + np.exp(-(solid + attraction / 4 * (2 * film + across))))
    np.testing.assert_allclose(uptake[3, :40], film.sum(1) / 19, atol=1e-9)
    # At saturation adsorption is still vapour: far from filled, in a wide slit as in bulk.
    np.testing.assert_allclose(uptake[jnp.array([1, 3]), 39], [0.0145, 0.1448], atol=5e-5)
    assert (uptake[:, -1] == 0).all()


@pytest.mark.parametrize(("tolerance", "bound"), [(1e-12, 1e-8), (None, 1e-7)])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_reference_data_in_double_precision(double, dimensions, tolerance, bound):
    pores = jnp.asarray(REFERENCE[f"pores_{dimensions}d"], float)
    uptake, convergence = both_branches(pores, dimensions, tolerance)
    # Near a fold the mean error is known to a factor only, and y divides it by a porosity as low
    # as 1 %: 1e-12 and 1e-10 become 1e-9 and 1e-8 in y, ten times less than the bounds.
    expected = REFERENCE[f"isotherm_{dimensions}d"][:, 1:]
    np.testing.assert_allclose(uptake, expected, rtol=0, atol=bound)
    assert not convergence.unconverged.any()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_reference_data_in_single_precision(dimensions):
    raw, expected = REFERENCE[f"pores_{dimensions}d"], REFERENCE[f"isotherm_{dimensions}d"][:, 1:]
    # Avalanches: points at which a pore region condenses or empties within 0.02 % of the humidity.
    # There increments fall to 1e-7 per site at a distance of 1e-2 from the fixed point, which
    # single precision cannot distinguish from convergence; elsewhere a mean error of 1e-6 divided
    # by a porosity of 1 % stays below 5e-4.
    with jax.enable_x64(True):
        pairs = np.minimum(HUMIDITIES[:, None] * [1 - 2e-4, 1 + 2e-4], 1).ravel()
        near, _ = both_branches(jnp.asarray(raw, float), dimensions, 1e-9, tuple(pairs))
        # Adsorption 1-, 1+, ..., 40-, 40+, then desorption 40-, 39+, 39-, ..., 1-, 0.
        rise, fall = near[:, 1:80:2] - near[:, 0:80:2], near[:, 81:158:2] - near[:, 82:159:2]
        steps = np.concatenate([rise, fall, np.zeros((len(raw), 1))], axis=1)
        avalanche = steps > 5e-4
    uptake, convergence = both_branches(jnp.asarray(raw, jnp.float32), dimensions)
    assert uptake.dtype == jnp.float32
    assert avalanche.mean() < 0.01
    error = abs(np.asarray(uptake) - expected)
    assert error[~avalanche].max() < 5e-4
    assert not convergence.unconverged.any()


@pytest.mark.parametrize(("dimensions", "side"), [(2, 6), (2, 7), (3, 4)])
def test_numpy_oracle_and_symmetries(double, dimensions, side):
    fluid = Fluid(temperature=320.0, interaction_ratio=1.2)
    humidities = (0.2, 0.4, 0.6, 0.8, 1.0)
    pores = relaxed((side,) * dimensions)
    binary = pores > 0.4
    images = [pores, np.roll(pores, 3, axis=0), np.swapaxes(pores, 0, 1), binary]
    uptake, _ = both_branches(
        jnp.asarray(np.stack(images), float), dimensions, 1e-12, humidities, fluid
    )
    for index in (0, 3):
        expected = ldft_numpy.isotherm(
            images[index], humidities, desorption=True, temperature=320.0, ratio=1.2
        )
        # Both stop within about 1e-12 of the fixed point, away from folds.
        np.testing.assert_allclose(uptake[index], expected, atol=1e-10)
    # A shift by an odd number of sites swaps the colours: a different path to the same fixed point.
    np.testing.assert_allclose(uptake[1], uptake[0], atol=1e-10)
    np.testing.assert_allclose(uptake[2], uptake[0], atol=1e-10)


def test_baseline_is_a_fixed_number_of_plain_sweeps(double):
    pores, humidities = relaxed((2, 5, 5)), (0.5, 1.0)
    solid = matrix_field(jnp.asarray(pores), 2, Fluid())
    density, expected = jnp.zeros_like(pores), []
    for humidity in humidities:
        for _ in range(3):
            field = solid + log_activity(humidity, Fluid())
            density = sweep(density, jnp.asarray(pores), field, 2, Fluid())
        expected.append(density.sum((1, 2)) / pores.sum((1, 2)))
    results = {}
    modes: tuple[Any, ...] = ("unrolled", "remat")
    for gradient in modes:

        def total(p, gradient=gradient):
            y = isotherm(p, dimensions=2, humidities=humidities, gradient=gradient, sweeps=3)
            return y.sum(), y

        results[gradient] = jax.grad(total, has_aux=True)(jnp.asarray(pores))
    # The same sums in the same order, up to fusion by the compiler.
    np.testing.assert_allclose(results["unrolled"][1], jnp.stack(expected, 1), rtol=1e-13)
    np.testing.assert_allclose(results["remat"][1], results["unrolled"][1], rtol=1e-13)
    np.testing.assert_allclose(results["remat"][0], results["unrolled"][0], rtol=1e-11)


# --- derivatives


@partial(jax.jit, static_argnames="dimensions")
def derivatives(pores, direction, weights, dimensions):
    """Value, J v, J^T w and J, each from a different mode of differentiation."""
    options = {"dimensions": dimensions, "desorption": True, "tolerance": 1e-13}
    uptake, linear = jax.linearize(partial(isotherm, **options), pores)
    pullback = jax.linear_transpose(linear, pores)
    (reverse,) = pullback(weights)
    rows = jax.vmap(lambda k: pullback(jnp.zeros_like(weights).at[:, k].set(1))[0])
    by_rows = rows(jnp.arange(0, weights.shape[1], 13))
    return uptake, linear(direction), reverse, by_rows, isotherm_and_jacobian(pores, **options)


@pytest.mark.parametrize(("dimensions", "side"), [(2, 6), (2, 5), (3, 4)])
def test_derivatives(double, dimensions, side):
    shape = (3,) + (side,) * dimensions
    rng = np.random.default_rng(1)
    pores = relaxed(shape)
    pores[1] = pores[1] > 0.3
    pores[2] = 0
    inner = jnp.asarray(np.where((pores > 0) & (pores < 1), rng.normal(size=shape), 0))
    weights = jnp.asarray(rng.normal(size=(3, 80)))
    results = derivatives(jnp.asarray(pores), inner, weights, dimensions)
    uptake, forward, reverse, by_rows, (same, jacobian) = results
    np.testing.assert_array_equal(same, uptake)
    # Linear systems are solved to 1e-10, and all are conditioned better than 1e3.
    dot = partial(np.testing.assert_allclose, rtol=1e-8)
    dot((forward * weights).sum(), (reverse * inner).sum())
    close = partial(np.testing.assert_allclose, atol=1e-8)
    close(jnp.einsum("bk,bk...->b...", weights, jacobian), reverse)
    close(jnp.moveaxis(jacobian[:, ::13], 1, 0), by_rows)
    # Step 1e-5: truncation of order 1e-10, and 1e-13 / 1e-5 from the solver's tolerance.
    step = 1e-5
    plus, minus = (
        derivatives(jnp.asarray(pores) + sign * step * inner, inner, weights, dimensions)[0]
        for sign in (1, -1)
    )
    difference = (plus - minus) / (2 * step)
    scale = abs(difference).max()
    np.testing.assert_allclose(forward, difference, rtol=0, atol=1e-6 * scale)
    # Without pores, and at h = 0: zeros, not NaN.
    assert (reverse[2] == 0).all()
    assert (jacobian[2] == 0).all()
    assert (jacobian[:, -1] == 0).all()


def test_density_and_its_derivative(double):
    pores = jnp.asarray(relaxed((2, 5, 5)))
    simulate = partial(
        isotherm, dimensions=2, humidities=(0.3, 0.7), tolerance=1e-13, return_density=True
    )
    direction = jnp.asarray(relaxed((2, 5, 5), seed=2))
    (uptake, density), (_, moved) = jax.jvp(simulate, (pores,), (direction,))
    total = pores.sum((1, 2))[:, None]
    np.testing.assert_allclose(density.sum((2, 3)) / total, uptake, rtol=1e-13)
    gradient = jax.grad(lambda p: (simulate(p)[1] ** 2).sum())(pores)
    # As for the uptake: linear systems solved to 1e-10.
    expected = (2 * density * moved).sum()
    np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-8)


def test_vmap_and_scan_do_not_change_results(double):
    pores = jnp.asarray(relaxed((4, 5, 5)))
    options = {"dimensions": 2, "humidities": (0.3, 0.6, 0.9), "tolerance": 1e-12}
    weights = jnp.asarray([1.0, -2.0, 0.5])

    def loss(p):
        return isotherm(p[None], **options)[0] @ weights

    def batch_loss(p):
        return (isotherm(p, **options) @ weights).sum()

    whole = jax.jit(jax.grad(batch_loss))(pores)
    mapped = jax.jit(jax.vmap(jax.grad(loss)))(pores)
    _, scanned = jax.lax.scan(lambda carry, p: (carry, jax.grad(loss)(p)), 0, pores)
    # Fixed points agree within 1e-12, independent of the lanes swept with them.
    np.testing.assert_allclose(mapped, whole, atol=1e-9)
    np.testing.assert_allclose(scanned, whole, atol=1e-9)


# --- grand potential


def test_grand_potential(double):
    pores = relaxed((2, 6, 6))
    pores[0, :2] = 0
    humidity = 0.6
    density = np.stack([ldft_numpy.relax(np.zeros((6, 6)), eta, humidity) for eta in pores])
    filling = jnp.asarray(density / np.where(pores > 0, pores, 1))
    pores = jnp.asarray(pores)
    potential = partial(grand_potential, humidity=humidity, dimensions=2)
    slope = jax.grad(lambda s: potential(s, pores, occupancy=True).sum())(filling)
    # kT eta times the residual of logit(s), 1e-13 / (s (1 - s)).
    np.testing.assert_allclose(slope, 0, atol=1e-10)
    both = jax.grad(lambda eta: potential(filling, eta, occupancy=True).sum())(pores)
    assert jnp.isfinite(both).all()
    field = matrix_field(pores, 2, Fluid()) + log_activity(humidity, Fluid())
    rho, values = jnp.zeros_like(pores), []
    for _ in range(40):
        values.append(potential(rho, pores))
        rho = sweep(rho, pores, field, 2, Fluid())
    # Rounding of a sum of 36 terms of order 1 kcal/mol.
    assert (jnp.diff(jnp.stack(values), axis=0) < 1e-13).all()
    assert (values[0] > values[-1]).all()


def test_grand_potential_of_a_lone_pore(double):
    # Independent site: Omega = -kT ln(1 + exp(-(energy of a filled site) / kT)).
    pores = jnp.zeros((1, 4, 4)).at[0, 1, 2].set(1.0)
    exponent = np.log(0.3) - 2 * 647 / 298 + 1.5 * 4 * 647 / 298
    density = pores / (1 + np.exp(-exponent))
    value = grand_potential(density, pores, 0.3, dimensions=2)
    np.testing.assert_allclose(value, -KT * np.log1p(np.exp(exponent)), rtol=1e-12)
