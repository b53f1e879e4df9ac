"""Blur of a field: distances between fields that do not overlap then have a slope."""

import jax
import jax.numpy as jnp
import numpy as np

REACH = 3.0
"""Distance, in radii, at which the kernel vanishes."""


def blur(field: jax.Array, radius: jax.Array | float) -> jax.Array:
    """Return a field [n, m] averaged with weights that fall with the distance s: [n, m].

    The weight is 1 / (1 + s / radius) - 1 / (1 + REACH) up to s = REACH radius, and 0 beyond; the
    weights of all cells of the plane sum to 1. The field is 0 outside of the grid. The radius [] is
    in cells.

    Source: arXiv 2001.07457, appendix D, for 1 / (1 + s / radius); cutting it off is ours, since
    the sum of all weights would grow with the size of the grid.
    """
    axes = [np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n)) for n in field.shape]
    squares = np.square(axes[0])[:, None] + np.square(axes[1])
    distance = jnp.asarray(np.sqrt(squares), field.dtype)
    kernel = jnp.maximum(1 / (1 + distance / radius) - 1 / (1 + REACH), 0)
    kernel = kernel / jnp.sum(kernel)
    padded = jnp.fft.rfft2(field, s=distance.shape)
    result = jnp.fft.irfft2(padded * jnp.fft.rfft2(kernel), s=distance.shape)
    return result[: field.shape[0], : field.shape[1]]
