"""Losses of an inverse design: misfits of the isotherm, and penalties on the matrix."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

Misfit = Literal["squared", "area", "smooth_area"]

SMOOTHING = 1e-4
TINY = 1e-12


def squared(residual: jax.Array) -> jax.Array:
    """Return 1/2 sum r^2: [batch, points] -> [batch]."""
    return 0.5 * jnp.sum(residual**2, axis=-1)


def area(residual: jax.Array) -> jax.Array:
    """Return mean |r|: [batch, points] -> [batch]."""
    return jnp.mean(jnp.abs(residual), axis=-1)


def smooth_area(residual: jax.Array) -> jax.Array:
    """Return sum sqrt(r^2 + 1e-4): [batch, points] -> [batch]."""
    return jnp.sum(jnp.sqrt(residual**2 + SMOOTHING), axis=-1)


MISFITS: dict[Misfit, Callable[[jax.Array], jax.Array]] = {
    "squared": squared,
    "area": area,
    "smooth_area": smooth_area,
}


def continuity_penalty(eta: jax.Array) -> jax.Array:
    """Return sum over ordered neighbour pairs (eta_i - eta_j)^2 / (2 d N^d): [batch].

    0 for a uniform matrix, 1 for a chequerboard; small where phases are continuous.
    """
    axes = tuple(range(1, eta.ndim))
    # The sum over ordered pairs counts each difference twice; dividing by 2 d leaves 1/d.
    squares = sum(jnp.mean((eta - jnp.roll(eta, 1, axis)) ** 2, axis=axes) for axis in axes)
    return jnp.asarray(squares) / len(axes)


def continuity_change(eta: jax.Array) -> jax.Array:
    """Return what flipping one site of a binary matrix adds to the penalty: [batch, *lattice]."""
    axes = tuple(range(1, eta.ndim))
    neighbours = [jnp.roll(eta, shift, axis) for axis in axes for shift in (1, -1)]
    agreeing = jnp.asarray(sum(1 - 2 * jnp.abs(eta - other) for other in neighbours))
    return agreeing / (len(axes) * math.prod(eta.shape[1:]))


def binarisation_penalty(eta: jax.Array) -> jax.Array:
    """Return the mean of 4 eta (1 - eta): 0 for a binary matrix, 1 if all eta = 1/2."""
    return jnp.mean(4 * eta * (1 - eta), axis=tuple(range(1, eta.ndim)))


def penalty_roots(
    eta: jax.Array, continuity: float, binarisation: float, progress: jax.Array
) -> jax.Array:
    """Return sqrt(2 w R) of one matrix for each penalty R whose weight w is not 0: [penalties].

    Half its square is w R, so that penalties are residuals like those of the isotherm. The weight
    of the binarisation penalty grows in proportion to the progress.
    """
    parts = []
    if continuity:
        parts.append(continuity * continuity_penalty(eta[None])[0])
    if binarisation:
        parts.append(binarisation * progress * binarisation_penalty(eta[None])[0])
    # The small term keeps the derivative of the root finite at R = 0.
    roots = [jnp.sqrt(2 * part + TINY) for part in parts]
    return jnp.stack(roots).astype(eta.dtype) if roots else jnp.zeros(0, eta.dtype)
