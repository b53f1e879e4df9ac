"""The two programs: the fixed points of a run of lanes, and the linear system of a lane's response.

Both run the formulas of `fixed_point` and `response` on the slots of one lane. A run waits for no
other, and the host for none: the loop ends inside the program.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from physopt.problems.ldft.fixed_point import SWEEPS_PER_ROUND, Block, advance
from physopt.problems.ldft.kernels.slots import LaneInMemory, read
from physopt.problems.ldft.response import LinearSolver, solve_by_colour
from physopt.problems.ldft.sublattices import Parts, Sublattices


def _lane(
    lattice: Sublattices, neighbours: Any, rows: Any, offset: Any, interpret: bool
) -> LaneInMemory:
    colours, directions, _ = neighbours.shape
    elements = [[neighbours[c, d, :] for d in range(directions)] for c in range(colours)]
    return LaneInMemory(lattice, rows, offset, elements, interpret)


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
    run: int,
    interpret: bool,
) -> None:
    """The fixed points of a run of humidities, each from the density of the one before.

    References: pores, field, start [sites], activity [points], the tables; results of the matrix:
    density [points * colours * slots], of which a row also serves the exchange with neighbours,
    error [points] and sweeps [points]. Rounds of sweeps go on until the estimated error reaches the
    tolerance.
    """
    from jax.experimental import pallas as pl

    points, elements = activity.shape[0], sites.size
    first = pl.program_id(1) * run
    lane = _lane(lattice, neighbours, density, first * elements, interpret)
    count = len(lane.colours)
    eta, attraction = read(pores, sites, count), read(field, sites, count)

    def fixed_point(point: Array, parts: Parts) -> Parts:
        here = replace(lane, offset=point * elements)
        shift = activity[point]
        block = Block(eta, tuple(part + shift for part in attraction))

        def unfinished(state: tuple[Parts, Array, Array]) -> Array:
            return (state[1] > tolerance) & (state[2] < maximum_sweeps)

        def one_round(state: tuple[Parts, Array, Array]) -> tuple[Parts, Array, Array]:
            moved, estimate = advance(here, coupling, direction, tolerance, block, state[:2])
            return moved, estimate, state[2] + SWEEPS_PER_ROUND

        initial = parts, jnp.full((), jnp.inf, shift.dtype), jnp.int32(0)
        parts, last_error, spent = lax.while_loop(unfinished, one_round, initial)
        error[point], sweeps[point] = last_error, spent
        _store(here, sites, parts, last_error)
        return parts

    end = jnp.minimum(first + run, points)
    lax.fori_loop(first, end, fixed_point, read(start, sites, count))


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
    lane = _lane(lattice, neighbours, solution, 0, interpret)
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
        lane.rows[lane.offset + element] = jnp.where(error != error, error, part)
