"""Mixtures of vapours: limits with known answers, derivatives, the problem."""

from functools import partial

import jax
import jax.numpy as jnp
import ldft_numpy
import numpy as np
import pytest

from physopt.options import OptionError
from physopt.problems.ldft import isotherm
from physopt.problems.ldft.mixture import (
    Mixture,
    Settings,
    densities,
    uptake,
    uptake_and_jacobian,
)
from physopt.problems.ldft.mixture_design import LDFTMixture

H = np.array([1e-7, 0.4, 0.7, 1.0])
OWN = Mixture(mixing=0.9)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def settings(mixture, dimensions=2):
    return Settings(dimensions, mixture, 1e-12, 1e-11)


def path(batch, *shares):
    return jnp.broadcast_to(jnp.stack([share * jnp.asarray(H) for share in shares], 1),
                            (batch, len(H), len(shares)))  # fmt: skip


solve = jax.jit(densities, static_argnums=0)
linearised = jax.jit(uptake_and_jacobian, static_argnums=0)


def test_densities_solve_the_equations_and_known_limits():
    rng = np.random.default_rng(0)
    pores = np.zeros((5, 4, 4))
    pores[0, 1, 2], pores[1] = 1, 1
    pores[2] = rng.uniform(size=(4, 4))
    pores[3] = np.roll(pores[2], 1, 0)
    shares = np.array([0.3, 0.7])
    state = solve(settings(OWN), jnp.asarray(pores), path(5, *shares))
    assert (state.error <= 1e-12).all()
    rho = np.asarray(state.density)
    # The softmax form, with w_11 = T_c,1 / T, w_12 = 0.9 sqrt(w_11 w_22) on a square lattice.
    w1, w2 = 647 / 298, 514 / 298
    w12 = 0.9 * np.sqrt(w1 * w2)
    for m, k in np.ndindex(5, len(H)):
        around = [ldft_numpy.neighbours(r) for r in rho[m, k]]
        solid = ldft_numpy.neighbours(1 - pores[m])
        v1 = np.log(0.3 * H[k]) - 2 * w1 + w1 * around[0] + w12 * around[1] + 1.5 * w1 * solid
        v2 = np.log(0.7 * H[k]) - 2 * w2 + w12 * around[0] + w2 * around[1] + 1.2 * w2 * solid
        total = 1 + np.exp(v1) + np.exp(v2)
        expected = pores[m] * np.exp([v1, v2]) / total
        np.testing.assert_allclose(rho[m, k], expected, atol=1e-11)
    y = np.asarray(uptake(settings(OWN), jnp.asarray(pores), path(5, *shares)))
    # A lone pore: Langmuir's isotherm of two components.
    affinity = np.exp([(4 * 1.5 - 2) * w1, (4 * 1.2 - 2) * w2])
    pressure = shares * H[:, None]
    langmuir = affinity * pressure / (1 + (affinity * pressure).sum(1, keepdims=True))
    np.testing.assert_allclose(y[0], langmuir, atol=1e-12)
    # Without solid the fluid is uniform.
    assert np.ptp(rho[1], axis=(2, 3)).max() < 1e-11
    # Henry's law, component by component.
    solid = ldft_numpy.neighbours(1 - pores[2])
    weights = [np.exp(1.5 * w1 * solid - 2 * w1), np.exp(1.2 * w2 * solid - 2 * w2)]
    slope = [(pores[2] * w).sum() / pores[2].sum() for w in weights]
    np.testing.assert_allclose(y[2, 0] / pressure[0], slope, rtol=1e-3)
    # A shift by one site swaps the colours of the chequerboard; no pores, no uptake.
    np.testing.assert_allclose(y[3], y[2], atol=1e-11)
    assert (y[4] == 0).all()


def test_identical_components_are_one_component():
    pores = jnp.asarray(np.random.default_rng(1).uniform(size=(2, 4, 4)))
    twin = Mixture(critical_temperatures=(647.0, 647.0), interaction_ratios=(1.5, 1.5))
    y = jax.jit(uptake, static_argnums=0)(settings(twin), pores, path(2, 0.3, 0.7))
    single = jax.jit(partial(isotherm, dimensions=2, humidities=tuple(H), tolerance=1e-12))
    np.testing.assert_allclose(y.sum(-1), single(pores), atol=1e-11)
    np.testing.assert_allclose(y[..., 0] / y.sum(-1), 0.3, rtol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_derivatives(dimensions):
    rng = np.random.default_rng(2)
    pores = rng.uniform(size=(3,) + (4,) * dimensions)
    pores[1] = pores[1] > 0.4
    pores[2] = 0
    direction = np.where((pores > 0) & (pores < 1), rng.normal(size=pores.shape), 0)
    where, pressure = settings(OWN, dimensions), path(3, 0.3, 0.7)
    y, jacobian = linearised(where, jnp.asarray(pores), pressure)
    weights = jnp.asarray(rng.normal(size=y.shape))

    @jax.jit
    def other_modes(pores):
        _, linear = jax.linearize(lambda p: uptake(where, p, pressure), pores)
        return linear(jnp.asarray(direction)), jax.linear_transpose(linear, pores)(weights)[0]

    forward, reverse = other_modes(jnp.asarray(pores))
    # Linear systems are solved to 1e-11.
    close = partial(np.testing.assert_allclose, atol=1e-9)
    close(jnp.einsum("bkc...,b...->bkc", jacobian, direction), forward)
    close(jnp.einsum("bkc...,bkc->b...", jacobian, weights), reverse)
    moved = [linearised(where, pores + s * 1e-5 * direction, pressure)[0] for s in (1, -1)]
    difference = (moved[0] - moved[1]) / 2e-5
    np.testing.assert_allclose(forward, difference, atol=1e-6 * float(abs(difference).max()))
    assert (reverse[2] == 0).all()
    assert (jacobian[2] == 0).all()


def test_swapped_components_have_swapped_isotherms():
    pores = jnp.asarray(np.random.default_rng(3).uniform(size=(2, 4, 4)))
    other = Mixture(critical_temperatures=(514.0, 647.0), interaction_ratios=(1.2, 1.5), mixing=0.9)
    y, slope = linearised(settings(OWN), pores, path(2, 0.3, 0.7))
    swapped, swapped_slope = linearised(settings(other), pores, path(2, 0.7, 0.3))
    np.testing.assert_allclose(swapped[..., ::-1], y, atol=1e-11)
    np.testing.assert_allclose(swapped_slope[:, :, ::-1], slope, atol=1e-9)


def test_the_matrix_behind_a_target_has_no_error():
    problem = LDFTMixture(**LDFTMixture.tiny, relaxation="relaxed")
    keys = jax.random.split(jax.random.key(0), 6)
    batch = problem.held_out(keys).at(1.0)
    matrices, conditions = problem._draw(keys)
    metrics = jax.jit(problem.metrics)(2 * matrices - 1, batch.target, batch)
    np.testing.assert_allclose(metrics["area_percent"], 0, atol=1e-6)
    np.testing.assert_allclose(metrics["composition_percent"], 0, atol=1e-6)
    pressure = problem.pressures(conditions)
    np.testing.assert_allclose(pressure.sum(-1), jnp.tile(jnp.arange(1, 5) / 4, (6, 1)))
    assert (pressure[:, -1] >= 0.2).all()


def test_an_odd_side_is_refused():
    with pytest.raises(OptionError, match="even"):
        LDFTMixture(size=5)
    with pytest.raises(ValueError, match="even side"):
        uptake(settings(OWN), jnp.ones((1, 5, 5)), path(1, 0.3, 0.7))
