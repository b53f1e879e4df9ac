"""Memory and time of a loss gradient, by lattice size, batch and gradient mode."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import get_args

import jax
import jax.numpy as jnp
import pandas as pd
from jax.stages import Compiled
from matrices import near_binary, random_matrices

from physopt.machine.devices import current_platform
from physopt.machine.resident import resident_peak
from physopt.problems.ldft.isotherm import Gradient, isotherm

GRADIENTS: tuple[Gradient, ...] = get_args(Gradient)


def compile_gradient(
    shape: tuple[int, ...], gradient: Gradient, sweeps: int = 100, points: int = 40
) -> Compiled:
    """Compile value and gradient of L = 1/2 sum_h y^2 in float32, without allocating arrays.

    shape: shape of the pore fractions, [batch, n, n] or [batch, n, n, n].
    """

    def loss(pores: jax.Array) -> jax.Array:
        y = isotherm(
            pores,
            dimensions=len(shape) - 1,
            spacing=1 / points,
            gradient=gradient,
            sweeps=sweeps,
        )
        return 0.5 * jnp.sum(y**2)

    pores = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.jit(jax.value_and_grad(loss)).lower(pores).compile()


def temporary_bytes(compiled: Compiled) -> float:
    """Return the memory of a compiled program in addition to its arguments and results.

    This is the compiler's temp_size_in_bytes; NaN on a backend that does not report it.
    """
    analysis = compiled.memory_analysis()
    return math.nan if analysis is None else float(analysis.temp_size_in_bytes)


def memory(
    sizes: Sequence[int],
    batches: Sequence[int],
    *,
    dimensions: int,
    gradients: Sequence[Gradient] = GRADIENTS,
    sweeps: int = 100,
    points: int = 40,
    limit_bytes: float = 2**30,
    repeats: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict the memory of a loss gradient in float32, and measure memory and time if it fits.

    A cell is a lattice size, a batch and a gradient mode. Each cell is compiled and the compiler's
    memory estimate read; cells below the limit run on random, nearly binary matrices. Gradient
    modes alternate, so that other load on the machine affects all of them; the best time counts.
    The measured memory is the increase of the process's resident memory on a CPU, including
    results.

    Args:
        sizes: sites n along each side of the lattice.
        batches: numbers of matrices in a batch.
        dimensions: 2 or 3.
        gradients: modes out of "implicit", "unrolled" and "remat"; see `isotherm`.
        sweeps: sweeps per humidity in the modes that are not implicit.
        points: number of humidities.
        limit_bytes: cells predicted to need this much memory or more are not run.
        repeats: runs of each cell; 0 measures nothing.
        seed: seed of the matrices.

    Returns:
        A row per cell: dimensions, size, batch, gradient, sweeps, predicted_bytes,
        bytes_per_site (over batch n^d sites), measured_bytes and seconds of one value and gradient
        (NaN if not run).

    Raises:
        ValueError: options that `isotherm` refuses.
    """
    rows = []
    for size in sizes:
        for batch in batches:
            shape = (batch, *(size,) * dimensions)
            programs: dict[Gradient, Compiled] = {
                g: compile_gradient(shape, g, sweeps, points) for g in gradients
            }
            needed = {g: temporary_bytes(program) for g, program in programs.items()}
            # A NaN estimate is not below the limit: such a cell might not fit.
            fitting: dict[Gradient, Compiled] = {
                g: p for g, p in programs.items() if needed[g] < limit_bytes
            }
            seconds, measured = _measured(fitting, shape, repeats, seed)
            for gradient in gradients:
                rows.append(
                    {
                        "dimensions": dimensions,
                        "size": size,
                        "batch": batch,
                        "gradient": gradient,
                        "sweeps": sweeps,
                        "predicted_bytes": needed[gradient],
                        "bytes_per_site": needed[gradient] / math.prod(shape),
                        "measured_bytes": measured.get(gradient, math.nan),
                        "seconds": seconds.get(gradient, math.nan),
                    }
                )
    return pd.DataFrame(rows)


def _measured(
    programs: Mapping[Gradient, Compiled], shape: tuple[int, ...], repeats: int, seed: int
) -> tuple[dict[Gradient, float], dict[Gradient, float]]:
    """Return the best of `repeats` alternating times of each program, and its resident memory."""
    if not programs or not repeats:
        return {}, {}
    drawn = random_matrices(seed, shape[0], shape[1], len(shape) - 1)
    pores = jnp.asarray(near_binary(drawn, 0.05, seed), jnp.float32)
    best: dict[Gradient, float] = dict.fromkeys(programs, math.inf)
    for _ in range(repeats):
        for gradient, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program(pores))
            best[gradient] = min(best[gradient], time.perf_counter() - start)
    peaks: dict[Gradient, float] = {}
    if current_platform() == "cpu":
        for gradient, program in programs.items():
            peaks[gradient] = resident_peak(lambda p=program: jax.block_until_ready(p(pores)))
    return best, peaks
