"""Refinement of designs: the annealed inverse solver, then flips of single sites."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from physopt.problems.ldft.coarse import coarse_copies
from physopt.problems.ldft.flips import flip_sites, share_of
from physopt.problems.ldft.inverse import (
    WIDEST,
    anneal,
    fewest_evaluations,
    shifted_copies,
    steps_per_stage,
)
from physopt.problems.ldft.relaxation import binary

ANNEALED = 0.4
"""Share of the isotherms that the annealed inverse solver computes; flips compute the others."""

TOLERANCE = 1e-5
"""Error of the density at which the solver stops in float32. Errors of designs are larger by two
orders of magnitude, and the default takes one and a half times as long."""

LEAST_GAIN = 4 * TOLERANCE
"""Decrease of the area error that counts: twice the error that a comparison has by TOLERANCE."""

ENOUGH = 5e-4
"""Area error at which the flips of a matrix end, and their trials go to the others."""


def refined_matrices(
    x: jax.Array,
    target: jax.Array,
    physics: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    effort: int,
    *,
    damping: float,
    continuity: float = 0.0,
) -> jax.Array:
    """Return binary matrices near the rounded x [batch, *lattice] with isotherms nearer to y*.

    Flips start from the rounded x or from a result of the annealed inverse solver, whichever has
    the smallest mean_h |y - y*| + continuity R, and never increase it. Flips alone end in a local
    minimum where x is far from a solution; the inverse solver changes all sites at a time. It
    starts from x, and for the quarter of the batch with the largest errors also from coarse copies
    of x. Matrices that reach ENOUGH leave their trials of flips to the others of the batch.

    Args:
        x: pre-activations.
        target: isotherms y* [batch, points].
        physics: y and dy/deta of matrices, at TOLERANCE or better.
        effort: isotherms with Jacobians that are computed for a matrix in the mean, without those
            of coarse copies. An effort too small for the inverse solver goes to flips alone.
        damping: that of the inverse solver, relative to the mean squared singular value.
        continuity: weight of the phase-continuity penalty R.
    """
    evaluations = int(ANNEALED * effort)
    flip = partial(flip_sites, binary(x), target, physics, continuity=continuity)
    if evaluations < fewest_evaluations():
        return flip(trials=effort, least_gain=LEAST_GAIN)
    relaxed = _annealed(x, target, physics, steps_per_stage(evaluations), damping)
    return flip(
        trials=effort - evaluations,
        others=tuple(binary(other) for other in relaxed),
        least_gain=LEAST_GAIN,
        enough=ENOUGH,
    )


def _annealed(
    x: jax.Array,
    target: jax.Array,
    physics: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    steps: int,
    damping: float,
) -> tuple[jax.Array, jax.Array]:
    """Return results of `anneal` from shifted copies of all x, and from coarse copies of the worst.

    A quarter of the matrices is solved at a time, and the quarter with the largest errors again
    from coarse copies. The second result is the first where there is none.
    """
    batch = len(x)
    block = share_of(batch)
    rounds = -(-batch // block)

    def solve(index: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        first, second, error = state
        coarse = index == rounds
        worst = jax.lax.top_k(error, block)[1]
        # The last block overlaps the one before if the blocks do not divide the batch.
        in_order = jnp.minimum(index * block, batch - block) + jnp.arange(block)
        lanes = jnp.where(coarse, worst, in_order)
        starts, count = jax.lax.cond(coarse, _coarse_starts, _shifted_starts, x[lanes])
        solution, reached = anneal(starts, count, target[lanes], physics, steps, damping)
        kept = jnp.where(coarse, first[lanes], solution)
        return (
            first.at[lanes].set(kept),
            second.at[lanes].set(solution),
            error.at[lanes].set(reached),
        )

    start = x, x, jnp.zeros(batch, x.dtype)
    first, second, _ = jax.lax.fori_loop(0, rounds + 1, solve, start)
    return first, second


def _coarse_starts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return coarse copies of x [copies, batch, *lattice], and their number []."""
    copies = jnp.clip(coarse_copies(x), -WIDEST, WIDEST)
    return copies, jnp.int32(len(copies))


def _shifted_starts(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return shifted copies of x in an array of the shape of `_coarse_starts`, and their number."""
    shifted = shifted_copies(x)
    shape = jax.eval_shape(_coarse_starts, x)[0].shape
    return jnp.zeros(shape, x.dtype).at[: len(shifted)].set(shifted), jnp.int32(len(shifted))


def unknowns_of(matrices: jax.Array) -> jax.Array:
    """Return x with the signs of binary matrices, from which `refined_matrices` may start."""
    return WIDEST * (2 * matrices - 1)
