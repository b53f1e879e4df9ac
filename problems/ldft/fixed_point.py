"""One round of the fixed-point iteration: sweeps, an error estimate, an extrapolation.

The map is isotone: the adsorption branch is its least fixed point, reached from rho = 0 or from the
density at a lower humidity, and the desorption branch is reached from the density at saturation or
at a higher humidity. Each (matrix, humidity) pair is a lane. The functions hold for any division of
the lattice, inside a kernel too.
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
    """Inputs of the sweeps of one block of lanes, as parts [..., lanes]."""

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


class Increments(NamedTuple):
    """The last two increments of a round, and their sizes per lane."""

    before: Parts
    last: Parts
    mean: Array
    """Mean |last| over the sites."""
    ratio: Array
    """Sum |last| / sum |before|: the factor by which increments shrink."""


def _increments(lattice: Lattice, first: Parts, second: Parts, third: Parts) -> Increments:
    before = tuple(b - a for a, b in zip(first, second, strict=True))
    last = tuple(b - a for a, b in zip(second, third, strict=True))
    size = lattice.lane_sum(map(jnp.abs, last))
    previous = lattice.lane_sum(map(jnp.abs, before))
    ratio = size / jnp.where(previous > 0, previous, 1)
    return Increments(before, last, size / lattice.sites, ratio)


def _remaining_error(increments: Increments) -> Array:
    """Mean error left after the last increment: delta r / (1 - r), per lane.

    The ratio r is bounded below by 1/3, since two increments may nearly cancel by accident. The
    error is inf if increments grow. An increment below the unit roundoff is its own estimate.
    """
    delta = increments.mean
    resolution = jnp.finfo(delta.dtype).eps
    ratio = jnp.maximum(increments.ratio, 1 / 3)
    # NaN propagates to the estimate, so that its lane ends instead of running to the limit.
    estimate = jnp.where(ratio >= 1, jnp.inf, delta * ratio / jnp.where(ratio < 1, 1 - ratio, 1))
    return jnp.where(delta <= resolution, delta, estimate)


def _aitken_factor(ratio: Array) -> Array:
    """Sum of the geometric series of the remaining increments, r / (1 - r), bounded."""
    series = ratio / jnp.where(ratio < 1, 1 - ratio, 1)
    return jnp.clip(jnp.where(ratio < 1, series, LARGEST_STEP), 0, LARGEST_STEP)


def _extrapolate(
    lattice: Lattice, density: Parts, pores: Parts, increments: Increments, sign: int
) -> Parts:
    """Bounded Aitken step along the last increment.

    The ratio of increments is the smaller of the lane's and the site's, v_i / u_i, so that the
    fastest pore does not drive pores that fill independently, and a site that moves against the
    branch's direction stays. The largest change bounds the step of the whole lane: bounding each
    site by itself has been seen to leave the metastable branch.
    """
    resolution = jnp.finfo(density[0].dtype).eps
    peak = lattice.lane_max(map(jnp.abs, increments.last))
    lane_step = jnp.minimum(
        _aitken_factor(increments.ratio), LARGEST_CHANGE / jnp.where(peak > 0, peak, 1)
    )

    def move(z: Array, eta: Array, u: Array, v: Array) -> Array:
        resolved = sign * u > resolution
        site_step = _aitken_factor(jnp.where(resolved, v / jnp.where(resolved, u, 1), 0))
        return jnp.clip(z + jnp.minimum(lane_step, site_step) * v, 0, eta)

    return tuple(map(move, density, pores, increments.before, increments.last))


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
    increments = _increments(lattice, first, second, third)
    moved = _extrapolate(lattice, third, block.pores, increments, sign)
    error = jnp.where(error <= tolerance, error, _remaining_error(increments))
    converged = error <= tolerance
    density = (jnp.where(converged, z, x) for z, x in zip(third, moved, strict=True))
    return tuple(density), error
