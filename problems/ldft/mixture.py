"""Sorption of a mixture of vapours: components that compete for the sites of one matrix.

    rho_ai = eta_i exp(v_ai) / (1 + sum_c exp(v_ci)),    a = 1 ... K,
    v_ai = beta (mu_a + sum_c w_ac sum_j rho_cj + w_am sum_j (1 - eta_j)),

the sums over j running over neighbours. One component gives the equation of `isotherm`. It is the
stationarity condition of the grand potential of a lattice gas of K species, for any symmetric w.

With more than one component the map is not isotone, so that the bounds and extrapolations of
`fixed_point` do not hold. On a chequerboard the sites of one colour do not interact: updating them
minimises the grand potential over them exactly, and sweeps that alternate between the colours
descend to a minimum. A lattice with an odd side has no such colouring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.sparse.linalg import cg

from physopt.numerics.linalg import HIGHEST
from physopt.problems.ldft.isotherm import per_pore
from physopt.problems.ldft.lattice import neighbour_sum

LARGEST_ITERATIONS = 500
"""Bound on the iterations of conjugate gradients."""


@dataclass(frozen=True)
class Mixture:
    """K vapours on a lattice with c = 2 d neighbours; temperatures in K.

    w_aa = 4 k T_c,a / c, w_ac = mixing sqrt(w_aa w_cc) and w_am = y_a w_aa, y_a the
    interaction ratio of component a; mu_a = -2 k T_c,a + kT ln h_a, h_a the relative pressure of a.
    The defaults are water and ethanol in a matrix that prefers water; the ratios and the mixing are
    choices of this project.
    """

    temperature: float = 298.0
    critical_temperatures: tuple[float, ...] = (647.0, 514.0)
    interaction_ratios: tuple[float, ...] = (1.5, 1.2)
    mixing: float = 1.0

    def couplings(self, dimensions: int) -> np.ndarray:
        """Return beta w_ac [K, K]."""
        own = 2 * np.asarray(self.critical_temperatures) / (dimensions * self.temperature)
        cross = self.mixing * np.sqrt(np.outer(own, own))
        return np.where(np.eye(len(own), dtype=bool), np.diag(own), cross)

    def solid(self, dimensions: int) -> np.ndarray:
        """Return beta w_am [K]."""
        return np.asarray(self.interaction_ratios) * np.diag(self.couplings(dimensions))

    def log_activity(self, pressure: Array) -> Array:
        """Return beta mu_a of relative pressures h [..., K]."""
        condensation = 2 * np.asarray(self.critical_temperatures) / self.temperature
        return jnp.log(pressure) - jnp.asarray(condensation, pressure.dtype)


@dataclass(frozen=True)
class Settings:
    """All parameters of a calculation except pores and pressures (static)."""

    dimensions: int
    mixture: Mixture
    tolerance: float
    linear_tolerance: float
    maximum_sweeps: int = 20_000


class State(NamedTuple):
    """Densities along an isotherm, and their convergence."""

    density: Array
    """rho [batch, points, K, *lattice]."""
    error: Array
    """Mean change of the density that the last sweep of a point leaves, estimated
    [batch, points]."""


def uptake(settings: Settings, pores: Array, pressure: Array) -> Array:
    """Return y [batch, points, K], y_a = sum_i rho_ai / sum_i eta_i, along a path of pressures.

    Each point starts from the densities of the one before, the first from an empty matrix. The
    derivative is that with respect to the pores, by implicit differentiation.

    Args:
        settings: components, lattice and tolerances.
        pores: pore fractions eta in [0, 1], [batch, n, n] or [batch, n, n, n] with an even n.
        pressure: relative pressures h [batch, points, K], positive.

    Raises:
        ValueError: a lattice of another rank, an odd side, or pressures of another shape.
    """
    components = len(settings.mixture.critical_temperatures)
    if pores.ndim != settings.dimensions + 1 or pores.shape[-1] % 2:
        raise ValueError(f"pores must be a batch of lattices with an even side, not {pores.shape}")
    if pressure.shape != (len(pores), pressure.shape[1], components):
        raise ValueError(f"pressure must be [batch, points, {components}], not {pressure.shape}")
    density = densities(settings, pores, lax.stop_gradient(pressure)).density
    return _per_pore(density, pores)


def uptake_and_jacobian(settings: Settings, pores: Array, pressure: Array) -> tuple[Array, Array]:
    """Return y [batch, points, K] and dy/deta [batch, points, K, *lattice].

    One linear system per point and component gives all rows.
    """
    state = densities(settings, pores, pressure)
    y = _per_pore(state.density, pores)

    def rows(density: Array, pores: Array, pressure: Array) -> Array:
        respond = jax.linear_transpose(_response(settings, density, pores, pressure), pores)

        def row(weights: Array) -> Array:
            weights = _per_component(weights, settings.dimensions)
            return respond(jnp.broadcast_to(weights, density.shape))[0]

        return jax.vmap(row)(jnp.eye(len(density), dtype=pores.dtype))

    slopes = jax.vmap(jax.vmap(rows, in_axes=(0, None, 0)))(state.density, pores, pressure)
    of_total = y.reshape(*y.shape, *(1,) * settings.dimensions)
    total = _total(pores).reshape(-1, *(1,) * (slopes.ndim - 1))
    return y, per_pore(slopes - of_total, total)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def densities(settings: Settings, pores: Array, pressure: Array) -> State:
    """Solve for the densities, differentiable in the pores; arguments as in `uptake`."""
    return jax.vmap(partial(_adsorb, settings))(pores, pressure)


@densities.defjvp
def _densities_jvp(
    settings: Settings, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[State, State]:
    (pores, pressure), (change, _) = primals, tangents
    state = densities(settings, pores, pressure)

    def respond(density: Array, pores: Array, pressure: Array, change: Array) -> Array:
        return _response(settings, density, pores, pressure)(change)

    along = jax.vmap(respond, in_axes=(0, None, 0, None))
    moved = jax.vmap(along)(state.density, pores, pressure, change)
    return state, State(moved, jnp.zeros_like(state.error))


def _adsorb(settings: Settings, pores: Array, pressure: Array) -> State:
    """Return densities and errors of one matrix [*lattice] along a path [points, K]."""
    components = pressure.shape[1]

    def point(density: Array, pressure: Array) -> tuple[Array, State]:
        field = _field(settings, pores, pressure)
        density, error = _fixed_point(settings, density, pores, field)
        return density, State(density, error)

    start = jnp.zeros((components, *pores.shape), pores.dtype)
    return lax.scan(point, start, pressure)[1]


def _fixed_point(
    settings: Settings, density: Array, pores: Array, field: Array
) -> tuple[Array, Array]:
    """Sweep until the estimated remaining mean change, delta r / (1 - r), meets the tolerance.

    r is the ratio of the last two changes, bounded below since two may nearly cancel by accident.
    """
    red = np.indices(pores.shape).sum(0) % 2 == 0
    resolution = jnp.finfo(pores.dtype).eps

    def sweep(density: Array) -> Array:
        for colour in (red, ~red):
            updated = pores * _occupation(settings, density, field)
            density = jnp.where(colour, updated, density)
        return density

    def advance(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        before, last_change, _, count = state
        after = sweep(before)
        change = jnp.mean(jnp.abs(after - before))
        ratio = jnp.maximum(change / jnp.where(last_change > 0, last_change, 1), 1 / 3)
        estimate = jnp.where(
            ratio < 1, change * ratio / jnp.where(ratio < 1, 1 - ratio, 1), jnp.inf
        )
        # A change below the unit roundoff is its own estimate.
        return after, change, jnp.where(change <= resolution, change, estimate), count + 1

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        # NaN ends the loop.
        return (state[2] > settings.tolerance) & (state[3] < settings.maximum_sweeps)

    infinite = jnp.asarray(jnp.inf, pores.dtype)
    start = (density, infinite, infinite, jnp.int32(0))
    density, _, error, _ = lax.while_loop(unfinished, advance, start)
    return density, error


def _field(settings: Settings, pores: Array, pressure: Array) -> Array:
    """Return beta (mu_a + w_am sum_j (1 - eta_j)), [K, *lattice]."""
    solid = jnp.asarray(settings.mixture.solid(settings.dimensions), pores.dtype)
    activity = settings.mixture.log_activity(pressure)
    return _per_component(activity, settings.dimensions) + _per_component(
        solid, settings.dimensions
    ) * neighbour_sum(1 - pores, settings.dimensions)


def _occupation(settings: Settings, density: Array, field: Array) -> Array:
    """Return p_a = exp(v_a) / (1 + sum_c exp(v_c)), [K, *lattice]."""
    v = field + _attraction(settings, density)
    return jax.nn.softmax(jnp.concatenate([jnp.zeros_like(v[:1]), v]), axis=0)[1:]


def _attraction(settings: Settings, density: Array) -> Array:
    """Return sum_c beta w_ac sum_j rho_cj, [K, *lattice]."""
    couplings = jnp.asarray(settings.mixture.couplings(settings.dimensions), density.dtype)
    around = neighbour_sum(density, settings.dimensions)
    return jnp.einsum("ac,c...->a...", couplings, around, precision=HIGHEST)


def _response(
    settings: Settings, density: Array, pores: Array, pressure: Array
) -> Callable[[Array], Array]:
    """Return the linear map d eta [*lattice] -> d rho [K, *lattice] at a fixed point.

    With the probabilities p_s of a site's states, s = 0 (empty) ... K, and R_as =
    (delta_as - p_a) sqrt(eta p_s), eta (diag p - p p^T) = R R^T, and

        d rho = p d eta + R z,   (I - R^T W A R) z = R^T (W A (p d eta) - w A d eta),

    W = beta w_ac, w = beta w_am and A the neighbour sum: positive definite at a minimum.
    """
    field = _field(settings, pores, pressure)
    occupied = _occupation(settings, density, field)
    states = jnp.concatenate([1 - occupied.sum(0, keepdims=True), occupied])
    root = jnp.sqrt(pores * jnp.maximum(states, 0))
    solid = _per_component(
        jnp.asarray(settings.mixture.solid(settings.dimensions), pores.dtype), settings.dimensions
    )

    def spread(z: Array) -> Array:
        weighted = root * z
        return weighted[1:] - occupied * weighted.sum(0)

    def gather(v: Array) -> Array:
        return root * (jnp.concatenate([jnp.zeros_like(v[:1]), v]) - (occupied * v).sum(0))

    def operator(z: Array) -> Array:
        return z - gather(_attraction(settings, spread(z)))

    def solve(operator: Callable[[Array], Array], right: Array) -> Array:
        tolerance = settings.linear_tolerance
        return cg(operator, right, tol=tolerance, maxiter=LARGEST_ITERATIONS)[0]

    def tangent(change: Array) -> Array:
        source = _attraction(settings, occupied * change)
        source -= solid * neighbour_sum(change, settings.dimensions)
        z = lax.custom_linear_solve(operator, gather(source), solve, symmetric=True)
        return occupied * change + spread(z)

    return tangent


def _per_component(values: Array, dimensions: int) -> Array:
    return values.reshape(-1, *(1,) * dimensions)


def _total(pores: Array) -> Array:
    return pores.sum(tuple(range(1, pores.ndim)))


def _per_pore(density: Array, pores: Array) -> Array:
    """Return y [batch, points, K] of densities [batch, points, K, *lattice]."""
    filling = density.sum(tuple(range(3, density.ndim)))
    return per_pore(filling, _total(pores)[:, None, None])
