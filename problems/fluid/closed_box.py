"""Exact pressure of a closed box without obstacles, by cosine transforms."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.linalg import HIGHEST


def solve_in_closed_box(source: jax.Array) -> jax.Array:
    """Return p of zero mean with laplace p = source - mean(source): [*grid] -> [*grid].

    No gradient of p crosses the walls. Cosines cos(pi k (i + 1/2) / n) are the eigenvectors along
    each axis, with the eigenvalues -4 sin^2(pi k / (2 n)).
    """
    solution, eigenvalues = source, np.zeros(())
    for axis, n in enumerate(source.shape):
        solution = _along(_cosines(n), solution, axis)
        own = -4 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2
        eigenvalues = eigenvalues[..., None] + own
    inverse = np.divide(1, eigenvalues, out=np.zeros_like(eigenvalues), where=eigenvalues != 0)
    solution = solution * jnp.asarray(inverse, source.dtype)
    for axis, n in enumerate(source.shape):
        solution = _along(_cosines(n).T, solution, axis)
    return solution


def _cosines(n: int) -> np.ndarray:
    """Return the orthonormal cosine transform, [waves, cells]."""
    waves, cells = np.arange(n)[:, None], np.arange(n) + 0.5
    scale = np.where(waves == 0, np.sqrt(1 / n), np.sqrt(2 / n))
    return scale * np.cos(np.pi * waves * cells / n)


def _along(matrix: np.ndarray, field: jax.Array, axis: int) -> jax.Array:
    """Apply a matrix along one axis."""
    factor = jnp.asarray(matrix, field.dtype)
    product = jnp.tensordot(factor, field, axes=(1, axis), precision=HIGHEST)
    return jnp.moveaxis(product, 0, axis)
