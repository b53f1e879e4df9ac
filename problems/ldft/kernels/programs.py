"""The two programs of a lane: its fixed point, and the linear system of its response.

Both run the formulas of `fixed_point` and `response` on the slots of one lane. A lane waits for no
other, and the host for none: the loop ends inside the program.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from physopt.problems.ldft.fixed_point import SWEEPS_PER_ROUND, Block, advance
from physopt.problems.ldft.kernels.slots import LaneInMemory, read
from physopt.problems.ldft.response import LinearSolver, solve_by_colour
from physopt.problems.ldft.sublattices import Parts, Sublattices


def _lane(lattice: Sublattices, neighbours: Any, row: Any, interpret: bool) -> LaneInMemory:
    colours, directions, _ = neighbours.shape
    elements = [[neighbours[c, d, :] for d in range(directions)] for c in range(colours)]
    return LaneInMemory(lattice, row, elements, interpret)


def fixed_point_program(
    pores: Any,
    field: Any,
    activity: Any,
    start: Any,
    sites: Any,
    neighbours: Any,
    density: Any,
    error: Any,
    sweeps: Any,
    *,
    lattice: Sublattices,
    coupling: float,
    tolerance: float,
    maximum_sweeps: int,
    direction: int,
    interpret: bool,
) -> None:
    """Rounds of sweeps from `start` until the estimated error reaches the tolerance.

    References: pores, field, start [sites], activity [1], the tables; results: density [colours *
    slots], which also serves the exchange with neighbours, error [1] and sweeps [1].
    """
    lane = _lane(lattice, neighbours, density, interpret)
    count = len(lane.colours)
    shift = activity[0]
    block = Block(
        read(pores, sites, count), tuple(part + shift for part in read(field, sites, count))
    )

    def unfinished(state: tuple[Parts, Array, Array]) -> Array:
        return (state[1] > tolerance) & (state[2] < maximum_sweeps)

    def one_round(state: tuple[Parts, Array, Array]) -> tuple[Parts, Array, Array]:
        parts, last_error, spent = state
        moved, estimate = advance(lane, coupling, direction, tolerance, block, (parts, last_error))
        return moved, estimate, spent + SWEEPS_PER_ROUND

    initial = read(start, sites, count)
    infinite = jnp.full((), jnp.inf, shift.dtype)
    parts, last_error, spent = lax.while_loop(
        unfinished, one_round, (initial, infinite, jnp.int32(0))
    )
    error[0], sweeps[0] = last_error, spent
    _store(lane, sites, parts, last_error)


def response_program(
    root: Any,
    right_side: Any,
    sites: Any,
    neighbours: Any,
    solution: Any,
    *,
    lattice: Sublattices,
    coupling: float,
    solver: LinearSolver,
    interpret: bool,
) -> None:
    """Conjugate gradients for (I - b D^1/2 A D^1/2) z = r; root, right_side [sites]."""
    lane = _lane(lattice, neighbours, solution, interpret)
    count = len(lane.colours)
    right = read(right_side, sites, count)
    parts = solve_by_colour(lane, coupling, solver, read(root, sites, count), right)
    _store(lane, sites, parts, jnp.zeros((), parts[0].dtype))


def _store(lane: LaneInMemory, sites: Any, parts: Parts, error: Array) -> None:
    """Write the result in the order of sites; padding goes behind them.

    Maxima and minima drop NaN on a GPU; the error keeps it.
    """
    lane.barrier()
    for index, part in enumerate(parts):
        element = jnp.where(sites[index, :] >= 0, sites[index, :], sites.size - 1)
        lane.row[element] = jnp.where(error != error, error, part)
