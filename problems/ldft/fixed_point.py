"""One round of the fixed-point iteration: sweeps, an error estimate, an extrapolation.

The map is isotone, so the adsorption branch is its least fixed point, reached from rho = 0 at each
humidity separately, and the desorption branch is reached from the density at saturation. Each
(matrix, humidity) pair is a lane of its own. The functions hold for any division of the lattice,
inside a kernel too.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from physopt.problems.ldft.sublattices import Lattice, Parts

SWEEPS_PER_ROUND = 3
"""A round: one sweep to damp the last step's perturbation, two to measure, one extrapolation."""

LARGEST_CHANGE = 0.05
"""Bound on the change of any density per extrapolation: keeps it on the metastable branch."""

LARGEST_STEP = 1e4
"""Bound on the extrapolation, in units of the last increment, if increments do not shrink."""


class Block(NamedTuple):
    """Inputs of the sweeps of one block of lanes, as sublattices [..., lanes]."""

    pores: Parts
    field: Parts


def red_black_sweep(lattice: Lattice, coupling: float, density: Parts, block: Block) -> Parts:
    """Update one colour after the other; a plain sweep if the side is odd."""
    parts = list(density)
    for colour in lattice.colours:
        updated = {}
        for index in colour:
            field = block.field[index] + coupling * lattice.neighbour_sum(parts, index)
            updated[index] = block.pores[index] * jax.nn.sigmoid(field)
        for index, part in updated.items():
            parts[index] = part
    return tuple(parts)


def _remaining_error(lattice: Lattice, before: Parts, last: Parts) -> Array:
    """Mean error left after increments `before` and `last`: delta r / (1 - r), per lane.

    The ratio r is bounded below by 1/3, since two increments may nearly cancel by accident. The
    error is inf if increments grow. An increment below the unit roundoff is its own estimate.
    """
    delta = lattice.lane_sum(map(jnp.abs, last)) / lattice.sites
    previous = lattice.lane_sum(map(jnp.abs, before)) / lattice.sites
    resolution = jnp.finfo(delta.dtype).eps
    ratio = jnp.maximum(delta / jnp.where(previous > 0, previous, 1), 1 / 3)
    # NaN propagates to the estimate, so that its lane ends instead of running to the limit.
    estimate = jnp.where(ratio >= 1, jnp.inf, delta * ratio / jnp.where(ratio < 1, 1 - ratio, 1))
    return jnp.where(delta <= resolution, delta, estimate)


def _aitken_factor(ratio: Array) -> Array:
    """Sum of the geometric series of the remaining increments, r / (1 - r), bounded."""
    series = ratio / jnp.where(ratio < 1, 1 - ratio, 1)
    return jnp.clip(jnp.where(ratio < 1, series, LARGEST_STEP), 0, LARGEST_STEP)


def _extrapolate(
    lattice: Lattice, density: Parts, pores: Parts, before: Parts, last: Parts, sign: int
) -> Parts:
    """Bounded Aitken step along the last increment.

    The ratio of increments is the smaller of the lane's, <u, v> / <u, u>, and the site's,
    v_i / u_i, so that the fastest pore does not drive pores that fill independently. Lanes with a
    density that changes against the branch's direction are not extrapolated.
    """
    resolution = jnp.finfo(density[0].dtype).eps
    peak = lattice.lane_max(map(jnp.abs, last))
    product = lattice.lane_sum(u * v for u, v in zip(before, last, strict=True))
    square = lattice.lane_sum(u * u for u in before)
    one_signed = lattice.lane_max(-sign * v for v in last) <= 1e-2 * peak
    lane_step = _aitken_factor(product / jnp.where(square > 0, square, 1))
    lane_step = jnp.minimum(lane_step, LARGEST_CHANGE / jnp.where(peak > 0, peak, 1))
    lane_step = jnp.where(one_signed, lane_step, 0)

    def move(z: Array, eta: Array, u: Array, v: Array) -> Array:
        resolved = sign * u > resolution
        site_step = _aitken_factor(jnp.where(resolved, v / jnp.where(resolved, u, 1), 0))
        return jnp.clip(z + jnp.minimum(lane_step, site_step) * v, 0, eta)

    return tuple(map(move, density, pores, before, last))


def advance(
    lattice: Lattice,
    coupling: float,
    sign: int,
    tolerance: float,
    block: Block,
    state: tuple[Parts, Array],
) -> tuple[Parts, Array]:
    """Sweep, measure the remaining error, extrapolate; converged lanes are only swept."""
    first, error = state
    for _ in range(SWEEPS_PER_ROUND - 2):
        first = red_black_sweep(lattice, coupling, first, block)
    second = red_black_sweep(lattice, coupling, first, block)
    third = red_black_sweep(lattice, coupling, second, block)
    before = tuple(b - a for a, b in zip(first, second, strict=True))
    last = tuple(b - a for a, b in zip(second, third, strict=True))
    estimate = _remaining_error(lattice, before, last)
    moved = _extrapolate(lattice, third, block.pores, before, last, sign)
    error = jnp.where(error <= tolerance, error, estimate)
    converged = error <= tolerance
    density = (jnp.where(converged, z, x) for z, x in zip(third, moved, strict=True))
    return tuple(density), error
