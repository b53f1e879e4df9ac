"""Gradient estimators of an isotherm's loss without backpropagation.

With f_k = sum_i rho_i the filling at humidity k, T = sum_i eta_i, y_k = f_k / T and g = dL/dy,

    dL/deta = sum_k g_k (df_k/deta - y_k) / T.

The two functions below differ in df_k/deta: from nudged equilibria, or from the linear response at
randomly drawn humidities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from jax import Array

from physopt.numerics.linalg import HIGHEST
from physopt.problems.ldft.equilibrium import (
    Equilibrium,
    Settings,
    branch,
    equilibrium,
    filling_jacobian,
)

NUDGED_TOLERANCE = 1e-4
"""Error of nudged densities relative to the nudge; the estimate is their difference."""

Cotangent = Callable[[Array], Array]
"""y [batch, points] -> dL/dy [batch, points]."""


def nudged_gradient(settings: Settings, pores: Array, cotangent: Cotangent, nudge: float) -> Array:
    """Return dL/deta by equilibrium propagation, in storage order [batch, sites] like the pores.

    The free densities are the minima of beta Omega. Adding the loss linearised about the free
    state, b_k g_k f_k / T, to each energy shifts its chemical potential by -b_k g_k / T; b_k is
    chosen such that the shift is `nudge` in units of kT at every humidity. From the free densities
    the fluid relaxes to the minima at +nudge and at -nudge, and with

        E_i = beta dOmega/deta_i = -ln(1 + e^v_i) + beta w_mf sum_j rho_j    at fixed rho,

    df_k/deta_i = (E_i(-nudge) - E_i(+nudge)) / (2 nudge), with an error of order nudge^2 unless
    a pore fills or empties in between. The solver is not differentiated.

    Source: B. Scellier, Y. Bengio, Front. Comput. Neurosci. 11, 24 (2017),
    doi 10.3389/fncom.2017.00024; the symmetric difference: A. Laborieux et al., arXiv 2006.03824.
    """
    free = equilibrium(settings, False, pores)
    total = _safe_total(pores)
    y = free.filling / total
    weights = cotangent(y) / total
    resolution = 10 * float(jnp.finfo(pores.dtype).eps)
    tolerance = max(resolution, min(settings.schedule.tolerance, NUDGED_TOLERANCE * nudge))
    nudged = replace(settings, schedule=replace(settings.schedule, tolerance=tolerance))
    activity = settings.activity(pores.dtype)

    def energy_slope(direction: int) -> Array:
        """Return sum_k g_k / T E_k with the potentials shifted up (1) or down (-1)."""
        shifted = activity + direction * nudge
        state = branch(nudged, pores, shifted, free.density, direction)
        return _weighted_energy_slope(settings, pores, state, shifted, weights)

    response = (energy_slope(-1) - energy_slope(1)) / (2 * nudge)
    return _where_pores(pores, response - jnp.sum(weights * y, axis=1, keepdims=True))


def _weighted_energy_slope(
    settings: Settings, pores: Array, state: Equilibrium, activity: Array, weights: Array
) -> Array:
    """Return sum_k w_k E_k [batch, sites] of densities [batch, points, sites]."""
    lattice, ratio = settings.lattice, settings.fluid.interaction_ratio
    batch, points, sites = state.density.shape
    parts = lattice.parts(state.density.reshape(-1, sites))
    sums = tuple(lattice.neighbour_sum(parts, index) for index in range(len(parts)))
    attraction = settings.coupling * lattice.rows(sums).reshape(batch, points, sites)
    field = settings.field(pores)[:, None] + activity[:, None] + attraction
    return _weighted_sum(weights, ratio * attraction - jax.nn.softplus(field))


def subsampled_gradient(
    settings: Settings, pores: Array, cotangent: Cotangent, key: Array, fraction: float
) -> Array:
    """Return an unbiased estimate of dL/deta from a random subset of the humidities.

    m of the K humidities of a branch are drawn without replacement, each with probability m/K.
    Densities and linear response are computed only there, and their part of the gradient is divided
    by m/K. The estimate is unbiased for losses that are sums over humidities: `cotangent` receives
    y at the m humidities and y = nan elsewhere, where its values are ignored.

    pores and result are in storage order [batch, sites]; all matrices have the same humidities.
    """
    activity = settings.activity(pores.dtype)
    increasing, count = len(settings.humidities), len(activity)
    keys = jax.random.split(key)
    drawn = _draw(keys[0], increasing, fraction)
    # Desorption starts from saturation, which is solved even if it was not drawn.
    rising = jnp.append(drawn, increasing - 1) if settings.desorption else drawn
    state = branch(settings, pores, activity[rising], None, 1)
    density, probability = (
        state.density[:, : len(drawn)],
        jnp.full(len(drawn), len(drawn) / increasing, pores.dtype),
    )
    if settings.desorption:
        back = _draw(keys[1], count - increasing, fraction)
        share = jnp.full(len(back), len(back) / (count - increasing), pores.dtype)
        drawn = jnp.append(drawn, increasing + back)
        falling = branch(settings, pores, activity[drawn[-len(back) :]], state.density[:, -1:], -1)
        density = jnp.concatenate([density, falling.density], axis=1)
        probability = jnp.append(probability, share)
    total = _safe_total(pores)
    y = density.sum(-1) / total
    everywhere = jnp.full((len(pores), count), jnp.nan, y.dtype).at[:, drawn].set(y)
    weights = cotangent(everywhere)[:, drawn] / (probability * total)
    response = filling_jacobian(settings, pores, density, activity[drawn])
    return _where_pores(pores, _weighted_sum(weights, response - y[..., None]))


def _draw(key: Array, count: int, fraction: float) -> Array:
    """Draw distinct indices below `count`, at least one, in the order in which a branch runs."""
    size = max(1, round(fraction * count))
    return jnp.sort(jax.random.choice(key, count, (size,), replace=False))


def _weighted_sum(weights: Array, rows: Array) -> Array:
    """Return sum_k w_k r_k, [batch, sites]: differences of large terms, so in full precision."""
    return jnp.einsum("bk,bki->bi", weights, rows, precision=HIGHEST)


def _safe_total(pores: Array) -> Array:
    total = pores.sum(-1, keepdims=True)
    return jnp.where(total > 0, total, 1)


def _where_pores(pores: Array, gradient: Array) -> Array:
    """Set the gradient of a matrix without pores to zero, as in `isotherm`."""
    return jnp.where(pores.sum(-1, keepdims=True) > 0, gradient, 0)
