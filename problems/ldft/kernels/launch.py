"""Choice and launch of the kernels.

Pallas is imported where a kernel is built: a CPU, which needs none, would spend 0.2 s on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.problems.ldft.kernels.programs import fixed_point_program, response_program
from physopt.problems.ldft.kernels.slots import tables
from physopt.problems.ldft.pool import Lanes, Schedule
from physopt.problems.ldft.response import LinearSolver
from physopt.problems.ldft.sublattices import Sublattices

WARP = 32
"""Threads of a warp."""

SLOTS_PER_THREAD = 8
"""Most slots of a colour that a thread holds in float32, half of it in float64: a program keeps
about twelve values a slot, and a thread has 255 registers."""

FEWEST_SLOTS_PER_THREAD = 2
"""Fewer slots leave too little work between barriers: on an H100 programs of 256 slots are 1.3 to
1.8 times as fast with four warps as with one."""

MOST_WARPS = 16
"""Warps of a program; more leave too few registers a thread."""


@dataclass(frozen=True)
class Kernel:
    """How the programs of a lattice are launched (static)."""

    warps: int = 1
    interpret: bool = False
    """Whether to run them in Pallas' interpreter, on any device: slow, for tests."""


def choose(lattice: Sublattices, dtype: Any) -> Kernel | None:
    """Return the kernel for a lattice, None if its sites do not fit into a program's registers."""
    slots = tables(lattice).sites.shape[1]
    held = SLOTS_PER_THREAD * 4 // np.dtype(dtype).itemsize
    if slots > held * WARP * MOST_WARPS:
        return None
    warps = max(1, slots // (FEWEST_SLOTS_PER_THREAD * WARP))
    return Kernel(min(warps, MOST_WARPS))


def fixed_points(
    kernel: Kernel,
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
    """Fixed points for every matrix at every humidity; arguments and result as in `pool.solve`."""
    from jax.experimental import pallas as pl

    batch, points, sites = pores.shape[0], activity.shape[0], lattice.sites
    table = tables(lattice)
    elements, dtype = table.sites.size, pores.dtype
    per_matrix, per_point = (int(size > 1) for size in start.shape[:2])
    run = schedule.run_length(batch, points, start.shape[1])
    program = partial(
        fixed_point_program,
        lattice=lattice,
        coupling=coupling,
        tolerance=schedule.tolerance,
        maximum_sweeps=schedule.maximum_sweeps,
        direction=direction,
        run=run,
        interpret=kernel.interpret,
    )
    of_matrix = pl.BlockSpec((None, points), lambda m, k: (m, 0))
    density, error, sweeps = pl.pallas_call(
        program,
        grid=(batch, -(-points // run)),
        in_specs=[
            pl.BlockSpec((None, sites), lambda m, k: (m, 0)),
            pl.BlockSpec((None, sites), lambda m, k: (m, 0)),
            pl.BlockSpec((points,), lambda m, k: (0,)),
            pl.BlockSpec((None, None, sites), lambda m, k: (m * per_matrix, k * per_point, 0)),
            *_whole(table),
        ],
        out_specs=[
            pl.BlockSpec((None, points * elements), lambda m, k: (m, 0)),
            of_matrix,
            of_matrix,
        ],
        out_shape=[
            jax.ShapeDtypeStruct((batch, points * elements), dtype),
            jax.ShapeDtypeStruct((batch, points), dtype),
            jax.ShapeDtypeStruct((batch, points), jnp.int32),
        ],
        **_compiler(kernel),
    )(pores, field, activity, start, *table)
    lanes = batch * points
    return Lanes(
        density.reshape(lanes, elements)[:, :sites],
        error.reshape(lanes),
        sweeps.reshape(lanes),
    )


def linear_response(
    kernel: Kernel,
    root: Array,
    right_side: Array,
    *,
    lattice: Sublattices,
    coupling: float,
    solver: LinearSolver,
) -> Array:
    """Solve (I - b D^1/2 A D^1/2) z = r for every lane: D^1/2 and r [lanes, sites] -> z."""
    from jax.experimental import pallas as pl

    table = tables(lattice)
    lanes, elements = root.shape[0], table.sites.size
    program = partial(
        response_program,
        lattice=lattice,
        coupling=coupling,
        solver=solver,
        interpret=kernel.interpret,
    )
    row = pl.BlockSpec((None, lattice.sites), lambda lane: (lane, 0))
    solution = pl.pallas_call(
        program,
        grid=(lanes,),
        in_specs=[row, row, *_whole(table)],
        out_specs=pl.BlockSpec((None, elements), lambda lane: (lane, 0)),
        out_shape=jax.ShapeDtypeStruct((lanes, elements), root.dtype),
        **_compiler(kernel),
    )(root, right_side, *table)
    return solution[:, : lattice.sites]


def _whole(table: Any) -> list[Any]:
    """Blocks that give every program the whole of the tables."""
    from jax.experimental import pallas as pl

    return [pl.BlockSpec(a.shape, lambda *_, rank=a.ndim: (0,) * rank) for a in table]


def _compiler(kernel: Kernel) -> dict[str, Any]:
    if kernel.interpret:
        return {"interpret": True}
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=kernel.warps, num_stages=1)}
