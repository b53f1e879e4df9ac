"""Refinement of designs: the annealed inverse solver, then flips of single sites."""

from collections.abc import Callable

import jax

from physopt.problems.ldft.flips import flip_sites
from physopt.problems.ldft.inverse import WIDEST, annealed_inverse, fewest_evaluations
from physopt.problems.ldft.relaxation import binary

ANNEALED = 0.4
"""Share of the isotherms that the annealed inverse solver computes; flips compute the others."""

TOLERANCE = 1e-5
"""Error of the density at which the solver stops in float32. Errors of designs are larger by two
orders of magnitude, and the default takes one and a half times as long."""

LEAST_GAIN = 4 * TOLERANCE
"""Decrease of the area error that counts: twice the error that a comparison has by TOLERANCE."""


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

    Flips start from the rounded x or from the result of `annealed_inverse`, whichever has the
    smaller mean_h |y - y*| + continuity R, and never increase it. Flips alone end in a local
    minimum where x is far from a solution; the inverse solver changes all sites at a time.

    Args:
        x: pre-activations.
        target: isotherms y* [batch, points].
        physics: y and dy/deta of matrices, at TOLERANCE or better.
        effort: isotherms with Jacobians that are computed for each matrix. An effort too small for
            the inverse solver goes to flips alone.
        damping: that of the inverse solver, relative to the mean squared singular value.
        continuity: weight of the phase-continuity penalty R.
    """
    evaluations = int(ANNEALED * effort)
    if evaluations < fewest_evaluations():
        return flip_sites(binary(x), target, physics, effort, continuity, least_gain=LEAST_GAIN)
    relaxed = annealed_inverse(x, target, physics, evaluations, damping)
    return flip_sites(
        *(binary(x), target, physics, effort - evaluations, continuity),
        other=binary(relaxed),
        least_gain=LEAST_GAIN,
    )


def unknowns_of(matrices: jax.Array) -> jax.Array:
    """Return x with the signs of binary matrices, from which `refined_matrices` may start."""
    return WIDEST * (2 * matrices - 1)
