"""The discrete inverse solver on isotherms of known matrices, some sites of which were flipped.

    python runs/ldft/flips.py [key=value ...]

Prints the area error before and after, and the share of targets that end within 0.1 %.
"""

import sys
import time
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from physopt.options import Options, PositiveInt
from physopt.problems.ldft import isotherm, refine_matrices
from physopt.problems.ldft.targets import random_matrix
from physopt.script import script


@dataclass(frozen=True)
class FlipOptions(Options):
    """Matrices and effort."""

    size: PositiveInt = 20
    """Sites along each side."""

    dimensions: PositiveInt = 2
    """2 or 3."""

    count: PositiveInt = 32
    """Matrices, random and correlated ones."""

    flips: PositiveInt = 20
    """Sites flipped in each matrix before the search."""

    trials: tuple[PositiveInt, ...] = (60, 200)
    """Efforts of the solver."""

    seed: int = 0
    """Seed of the matrices."""


def measure(options: FlipOptions) -> None:
    """Flip sites, search, and print the errors."""
    shape = (options.size,) * options.dimensions
    keys = jax.random.split(jax.random.key(options.seed), options.count)
    draw = jax.jit(jax.vmap(lambda key: random_matrix(key, shape, ("white", "correlated"))))
    pores = np.array(draw(keys))
    solve = jax.jit(partial(isotherm, dimensions=options.dimensions))
    target = solve(jnp.asarray(pores))
    rng, rows = np.random.default_rng(options.seed), pores.reshape(options.count, -1)
    for row in rows:
        sites = rng.choice(row.size, options.flips, replace=False)
        row[sites] = 1 - row[sites]
    start = jnp.asarray(pores)

    @jax.jit
    def refine(start: jax.Array, target: jax.Array, trials: int) -> jax.Array:
        return refine_matrices(
            start, target, trials=trials, dimensions=options.dimensions, linear_tolerance=1e-3
        )

    refine(start, target, 0)
    for trials in (0, *options.trials):
        before = time.process_time()
        designed = jax.block_until_ready(refine(start, target, trials))
        seconds = time.process_time() - before
        errors = 100 * np.mean(np.abs(np.asarray(solve(designed) - target)), axis=1)
        print(
            f"{trials} trials: mean {errors.mean():.3f} %, median {np.median(errors):.3f} %, "
            f"within 0.1 %: {np.mean(errors < 0.1):.0%}, "
            f"{seconds / options.count:.2f} CPU seconds a target",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(script(FlipOptions, measure, __doc__, sys.argv[1:]))
