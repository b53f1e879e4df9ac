"""Fixed points of the mean-field equation for many (matrix, humidity) pairs at once.

Each pair is a separate lane: the map is isotone, so the adsorption branch is its least fixed point,
reached from rho = 0 at each humidity separately, and the desorption branch is reached from the
density at saturation. Lanes need between 10 and 1000 sweeps. The lanes therefore form a pool, of
which only the worst, a block that fits the cache, are swept at a time: no lane waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from physopt.problems.ldft.sublattices import Parts, Sublattices, lane_max, lane_sum

SWEEPS_PER_ROUND = 3
"""A round: one sweep to damp the last step's perturbation, two to measure, one extrapolation."""

LARGEST_CHANGE = 0.05
"""Bound on the change of any density per extrapolation: keeps it on the metastable branch."""

LARGEST_STEP = 1e4
"""Bound on the extrapolation, in units of the last increment, if increments do not shrink."""


@dataclass(frozen=True)
class Schedule:
    """Stopping criterion and number of lanes swept together (static)."""

    tolerance: float
    maximum_sweeps: int
    widths: tuple[int, ...]
    rounds: int = 2
    """Rounds between two selections of the worst lanes."""


class Lanes(NamedTuple):
    """State of the pool."""

    density: Array
    """Densities in storage order [lanes, sites]."""
    error: Array
    """Estimated remaining mean error of the density [lanes]; inf before the first round."""
    sweeps: Array
    """Sweeps spent [lanes], int32."""


class Block(NamedTuple):
    """Inputs of the sweeps of one block of lanes, as sublattices [..., lanes]."""

    pores: Parts
    field: Parts


def red_black_sweep(lattice: Sublattices, coupling: float, density: Parts, block: Block) -> Parts:
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


def _remaining_error(before: Parts, last: Parts, sites: int) -> Array:
    """Mean error left after increments `before` and `last`: delta r / (1 - r), per lane.

    The ratio r is bounded below by 1/3, since two increments may nearly cancel by accident. The
    error is inf if increments grow. An increment below the unit roundoff is its own estimate.
    """
    delta = lane_sum(tuple(map(jnp.abs, last))) / sites
    previous = lane_sum(tuple(map(jnp.abs, before))) / sites
    resolution = jnp.finfo(delta.dtype).eps
    ratio = jnp.maximum(delta / jnp.where(previous > 0, previous, 1), 1 / 3)
    # NaN propagates to the estimate, so that its lane ends instead of running to the limit.
    estimate = jnp.where(ratio >= 1, jnp.inf, delta * ratio / jnp.where(ratio < 1, 1 - ratio, 1))
    return jnp.where(delta <= resolution, delta, estimate)


def _aitken_factor(ratio: Array) -> Array:
    """Sum of the geometric series of the remaining increments, r / (1 - r), bounded."""
    series = ratio / jnp.where(ratio < 1, 1 - ratio, 1)
    return jnp.clip(jnp.where(ratio < 1, series, LARGEST_STEP), 0, LARGEST_STEP)


def _extrapolate(density: Parts, pores: Parts, before: Parts, last: Parts, sign: int) -> Parts:
    """Bounded Aitken step along the last increment.

    The ratio of increments is the smaller of the lane's, <u, v> / <u, u>, and the site's,
    v_i / u_i, so that the fastest pore does not drive pores that fill independently. Lanes with a
    density that changes against the branch's direction are not extrapolated.
    """
    resolution = jnp.finfo(density[0].dtype).eps
    peak = lane_max(tuple(map(jnp.abs, last)))
    product = lane_sum(tuple(u * v for u, v in zip(before, last, strict=True)))
    square = lane_sum(tuple(u * u for u in before))
    one_signed = lane_max(tuple(-sign * v for v in last)) <= 1e-2 * peak
    lane_step = _aitken_factor(product / jnp.where(square > 0, square, 1))
    lane_step = jnp.minimum(lane_step, LARGEST_CHANGE / jnp.where(peak > 0, peak, 1))
    lane_step = jnp.where(one_signed, lane_step, 0)

    def move(z: Array, eta: Array, u: Array, v: Array) -> Array:
        resolved = sign * u > resolution
        site_step = _aitken_factor(jnp.where(resolved, v / jnp.where(resolved, u, 1), 0))
        return jnp.clip(z + jnp.minimum(lane_step, site_step) * v, 0, eta)

    return tuple(map(move, density, pores, before, last))


def _round(
    lattice: Sublattices,
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
    estimate = _remaining_error(before, last, lattice.sites)
    moved = _extrapolate(third, block.pores, before, last, sign)
    error = jnp.where(error <= tolerance, error, estimate)
    converged = error <= tolerance
    density = (jnp.where(converged, z, x) for z, x in zip(third, moved, strict=True))
    return tuple(density), error


def _advance_worst(
    lattice: Sublattices,
    sign: int,
    coupling: float,
    schedule: Schedule,
    width: int,
    block_of: Callable[[Array], Block],
    lanes: Lanes,
) -> Lanes:
    """Sweep the `width` worst lanes of the pool for a few rounds and store their new state."""
    unfinished = _unfinished(lanes, schedule)
    _, worst = lax.top_k(jnp.where(unfinished, lanes.error, -1), width)
    block, active = block_of(worst), unfinished[worst]
    rows = lanes.density[worst]
    # Finished lanes that pad the block count as converged: plain sweeps keep them so.
    error = jnp.where(active, lanes.error[worst], -1)

    def advance(_: Array, state: tuple[Parts, Array]) -> tuple[Parts, Array]:
        return _round(lattice, coupling, sign, schedule.tolerance, block, state)

    parts, new_error = lax.fori_loop(0, schedule.rounds, advance, (lattice.parts(rows), error))
    spent = jnp.where(active, schedule.rounds * SWEEPS_PER_ROUND, 0).astype(jnp.int32)
    return Lanes(
        lanes.density.at[worst].set(lattice.rows(parts), unique_indices=True),
        lanes.error.at[worst].set(
            jnp.where(active, new_error, lanes.error[worst]), unique_indices=True
        ),
        lanes.sweeps.at[worst].add(spent, unique_indices=True),
    )


def _unfinished(lanes: Lanes, schedule: Schedule) -> Array:
    # NaN compares false with the tolerance: its lane ends without having converged.
    return (lanes.error > schedule.tolerance) & (lanes.sweeps < schedule.maximum_sweeps)


def solve(
    pores: Array,
    field: Array,
    activity: Array,
    start: Array | None,
    *,
    lattice: Sublattices,
    coupling: float,
    schedule: Schedule,
    direction: int,
) -> Lanes:
    """Fixed points for every matrix at every humidity.

    Args:
        pores: pore fractions eta in storage order [batch, sites].
        field: `matrix_field` in storage order [batch, sites].
        activity: `log_activity` [points].
        start: initial densities [batch, points, sites], or [batch, 1, sites] for all humidities;
            None starts from 0.
        lattice: the split of the lattice.
        coupling: w_ff / kT.
        schedule: stopping criterion and block widths.
        direction: 1 if the density rises from its start (adsorption), -1 if it falls (desorption).

    Returns:
        Lanes in matrix-major order, lane = matrix * points + point. A lane has converged if
        `error <= schedule.tolerance`, which is false for NaN.
    """
    batch, points = pores.shape[0], activity.shape[0]
    count = batch * points

    def block_of(indices: Array) -> Block:
        matrix, point = indices // points, indices % points
        shifted = tuple(f + activity[point] for f in lattice.parts(field[matrix]))
        return Block(lattice.parts(pores[matrix]), shifted)

    rows = jnp.zeros((batch, 1, pores.shape[1]), pores.dtype) if start is None else start
    lanes = Lanes(
        jnp.broadcast_to(rows, (batch, points, pores.shape[1])).reshape(count, -1),
        jnp.full(count, jnp.inf, pores.dtype),
        jnp.zeros(count, jnp.int32),
    )
    widths = sorted({min(width, count) for width in schedule.widths}, reverse=True)
    for width, narrower in zip(widths, [*widths[1:], 0], strict=True):

        def more_than_narrower(lanes: Lanes, narrower: int = narrower) -> Array:
            return _unfinished(lanes, schedule).sum() > narrower

        def advance(lanes: Lanes, width: int = width) -> Lanes:
            return _advance_worst(lattice, direction, coupling, schedule, width, block_of, lanes)

        lanes = lax.while_loop(more_than_narrower, advance, lanes)
    return lanes
