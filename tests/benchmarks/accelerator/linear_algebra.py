"""Milliseconds of the decompositions behind spectral powers, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from accelerator.rows import Case, Row
from accelerator.timing import timed
from physopt.machine.threads import blas_limited

SECTION = "linear_algebra"

SIZES = {"eigh": (1024, 4096), "cholesky": (1024, 4096)}
SMALL = (256, 512)


def measure(operation: str, n: int, name: str) -> list[Row]:
    """Return the row of one operation on Gram matrices of side n."""
    with jax.enable_x64(True), blas_limited(None):
        rng, inputs = np.random.default_rng(0), []
        for _ in range(2):
            factor = rng.normal(size=(n, n + 8))
            inputs.append((jnp.asarray(factor @ factor.T / n + 1e-3 * np.eye(n)),))
        timing = timed(getattr(jnp.linalg, operation), inputs, seconds=0.5)
    return [Row(name, SECTION, "ms", **timing.fields())]


def cases(small: bool) -> list[Case]:
    """Return the cases."""
    return [
        Case(name, SECTION, partial(measure, operation, n, name))
        for operation, sizes in SIZES.items()
        for n in (SMALL if small else sizes)
        for name in [f"{operation} float64, n = {n}"]
    ]
