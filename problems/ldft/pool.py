"""Fixed points of many lanes on a vectorising processor: a pool, of which the worst are swept.

Lanes need between 10 and 1000 sweeps. The lanes therefore form a pool, of which only the worst, a
block that fits the cache, are swept at a time: no lane waits for another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from physopt.problems.ldft.fixed_point import SWEEPS_PER_ROUND, Block
from physopt.problems.ldft.fixed_point import advance as advance_round
from physopt.problems.ldft.sublattices import Parts, Sublattices


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
        return advance_round(lattice, coupling, sign, schedule.tolerance, block, state)

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
