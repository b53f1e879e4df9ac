"""Fixed points of many lanes on a vectorising processor: a pool, of which the worst are swept.

The humidities of a matrix are divided into runs; within a run a point starts from the density of
the one before, which saves a third to a half of the sweeps. Lanes need between 3 and 1000 sweeps.
The runs therefore form a pool, of which only those that are furthest behind, a block that fits the
cache, are swept at a time: no lane waits for another.
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
    """Stopping criterion, length of runs and number of lanes swept together (static)."""

    tolerance: float
    maximum_sweeps: int
    widths: tuple[int, ...]
    runs: int
    """Runs, over all matrices, that are wanted at least: what keeps the processor busy."""
    rounds: int = 2
    """Rounds between two selections of the runs that are swept."""

    def run_length(self, batch: int, points: int, starts: int) -> int:
        """Return the number of humidities of a run, 1 if a matrix has several starts."""
        return 1 if starts > 1 else max(1, min(points, batch * points // self.runs))


class Lanes(NamedTuple):
    """State of the pool."""

    density: Array
    """Densities in storage order [lanes, sites]."""
    error: Array
    """Estimated remaining mean error of the density [lanes]; inf before the first round."""
    sweeps: Array
    """Sweeps spent [lanes], int32."""


class Runs(NamedTuple):
    """The division of the lanes into runs, all static but the position."""

    first: Array
    """First lane of each run [runs], int32."""
    length: Array
    """Lanes of each run [runs], int32."""
    position: Array
    """Lanes of the run that are finished [runs], int32."""

    @property
    def left(self) -> Array:
        """Lanes of each run that are not finished [runs]."""
        return self.length - self.position


def _divided(batch: int, points: int, length: int) -> Runs:
    """Divide the points of every matrix into runs of `length` and a shorter last one."""
    first = jnp.arange(0, points, length, dtype=jnp.int32)
    lengths = jnp.minimum(length, points - first)
    offsets = jnp.arange(batch, dtype=jnp.int32)[:, None] * points
    return Runs(
        (offsets + first).ravel(),
        jnp.tile(lengths, batch),
        jnp.zeros(batch * len(first), jnp.int32),
    )


def _advance_worst(
    lattice: Sublattices,
    sign: int,
    coupling: float,
    schedule: Schedule,
    width: int,
    block_of: Callable[[Array], Block],
    state: tuple[Lanes, Runs],
) -> tuple[Lanes, Runs]:
    """Sweep the `width` runs with the most lanes left for a few rounds; store their new state."""
    lanes, runs = state
    left, worst = lax.top_k(runs.left, width)
    active, position = left > 0, runs.position[worst]
    lane = runs.first[worst] + jnp.minimum(position, runs.length[worst] - 1)
    # A lane starts from its predecessor in the run.
    start = jnp.where(active & (position > 0) & (lanes.sweeps[lane] == 0), lane - 1, lane)
    # Runs that pad the block count as converged: plain sweeps keep them so.
    error = jnp.where(active, lanes.error[lane], -1)
    block = block_of(lane)

    def advance(_: Array, now: tuple[Parts, Array]) -> tuple[Parts, Array]:
        return advance_round(lattice, coupling, sign, schedule.tolerance, block, now)

    first = lattice.parts(lanes.density[start]), error
    parts, new_error = lax.fori_loop(0, schedule.rounds, advance, first)
    spent = jnp.where(active, schedule.rounds * SWEEPS_PER_ROUND, 0).astype(jnp.int32)
    error = jnp.where(active, new_error, lanes.error[lane])
    sweeps = lanes.sweeps[lane] + spent
    # NaN compares false with the tolerance: its lane ends without having converged.
    ended = active & ~((error > schedule.tolerance) & (sweeps < schedule.maximum_sweeps))
    lanes = Lanes(
        lanes.density.at[lane].set(lattice.rows(parts), unique_indices=True),
        lanes.error.at[lane].set(error, unique_indices=True),
        lanes.sweeps.at[lane].set(sweeps, unique_indices=True),
    )
    moved = runs.position.at[worst].add(ended.astype(jnp.int32), unique_indices=True)
    return lanes, runs._replace(position=moved)


def solve(
    pores: Array,
    field: Array,
    activity: Array,
    start: Array,
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
        activity: `log_activity` [points], in the order in which the branch passes them.
        start: initial densities [batch or 1, 1, sites], or [batch, points, sites], one for each
            humidity, which then make no runs.
        lattice: the split of the lattice.
        coupling: w_ff / kT.
        schedule: stopping criterion, runs and block widths.
        direction: 1 if the density rises from its start (adsorption), -1 if it falls (desorption).

    Returns:
        Lanes in matrix-major order, lane = matrix * points + point. A lane has converged if
        `error <= schedule.tolerance`, which is false for NaN.
    """
    batch, points = pores.shape[0], activity.shape[0]
    count = batch * points

    def block_of(lane: Array) -> Block:
        matrix, point = lane // points, lane % points
        shifted = tuple(f + activity[point] for f in lattice.parts(field[matrix]))
        return Block(lattice.parts(pores[matrix]), shifted)

    lanes = Lanes(
        jnp.broadcast_to(start, (batch, points, pores.shape[1])).reshape(count, -1),
        jnp.full(count, jnp.inf, pores.dtype),
        jnp.zeros(count, jnp.int32),
    )
    state = lanes, _divided(batch, points, schedule.run_length(batch, points, start.shape[1]))
    available = len(state[1].first)
    widths = sorted({min(width, available) for width in schedule.widths}, reverse=True)
    for width, narrower in zip(widths, [*widths[1:], 0], strict=True):

        def more_than_narrower(state: tuple[Lanes, Runs], narrower: int = narrower) -> Array:
            return (state[1].left > 0).sum() > narrower

        def advance(state: tuple[Lanes, Runs], width: int = width) -> tuple[Lanes, Runs]:
            return _advance_worst(lattice, direction, coupling, schedule, width, block_of, state)

        state = lax.while_loop(more_than_narrower, advance, state)
    return state[0]
