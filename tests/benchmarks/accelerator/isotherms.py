"""Isotherms a second: forward, with the gradient of a loss, and with the whole Jacobian."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from bench_ldft import near_binary

from accelerator.rows import RATE, Case, Row
from accelerator.timing import timed
from physopt.problems.ldft import isotherm, isotherm_and_jacobian

SECTION = "isotherms"


class Size(NamedTuple):
    """A batch of lattices, the derivative asked of it and the goal in isotherms a second."""

    dimensions: int
    side: int
    batch: int
    derivative: str = ""
    goal: float | None = None


GRADIENT, JACOBIAN, UNROLLED = "gradient", "Jacobian", "gradient of 100 unrolled sweeps"

SIZES = (
    Size(2, 20, 64, goal=140_000),
    Size(2, 20, 1024),
    Size(2, 20, 8192, goal=1_000_000),
    Size(2, 20, 64, GRADIENT, 60_000),
    Size(2, 20, 1024, GRADIENT, 300_000),
    Size(2, 20, 64, JACOBIAN, 60_000),
    Size(2, 20, 1024, JACOBIAN, 300_000),
    Size(3, 10, 64),
    Size(3, 10, 64, GRADIENT),
    Size(3, 10, 1024),
    Size(3, 10, 1024, GRADIENT, 150_000),
    Size(2, 64, 64),
    Size(3, 40, 8),
    Size(3, 40, 8, GRADIENT),
    Size(2, 20, 64, UNROLLED),
)

SMALL_SITES = 64 * 10**3
"""Sites of the largest batch of the small version."""


def function(size: Size) -> Callable:
    """Return a function of pores that computes the isotherms and the derivative of a size."""
    solve = partial(isotherm, dimensions=size.dimensions)
    if size.derivative == JACOBIAN:
        return partial(isotherm_and_jacobian, dimensions=size.dimensions)
    if not size.derivative:
        return solve
    mode = "unrolled" if size.derivative == UNROLLED else "implicit"
    weights = np.random.default_rng(1).normal(size=(size.batch, 40)).astype(np.float32)
    return jax.value_and_grad(lambda pores: (weights * solve(pores, gradient=mode)).sum())


def measure(size: Size, name: str) -> list[Row]:
    """Return the row of a size; float32, near-binary matrices, default tolerances."""
    inputs = [(near_binary(size.batch, size.side, size.dimensions, seed),) for seed in range(3)]
    timing = timed(function(size), inputs)
    return [Row(name, SECTION, RATE, goal=size.goal, **timing.rates(size.batch))]


def cases(small: bool) -> list[Case]:
    """Return the cases; the small version leaves out the large batches."""
    made = []
    for size in SIZES:
        derivative = f", {size.derivative}" if size.derivative else ""
        name = f"isotherms {size.dimensions}D N = {size.side}, batch {size.batch}{derivative}"
        if not (small and size.batch * size.side**size.dimensions > SMALL_SITES):
            made.append(Case(name, SECTION, partial(measure, size, name)))
    return made
