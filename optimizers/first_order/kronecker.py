"""Second moments of a gradient tensor along each of its axes, and rotations of these axes.

For a matrix G [m, k] the moments are G G^T [m, m] and G^T G [k, k]; for a tensor those of its
unfoldings, with one axis as rows and all others as columns.
"""

import jax.numpy as jnp
from jax import Array

from physopt.numerics.linalg import HIGHEST

Axes = tuple[int, ...]
Matrices = tuple[Array, ...]  # one [size, size] for each of the axes


def factored_axes(leaf: Array, largest: int) -> Axes:
    """Return the axes with a factor: none of a vector, else those of 2 to `largest` entries."""
    if leaf.ndim < 2:
        return ()
    return tuple(axis for axis, size in enumerate(leaf.shape) if 1 < size <= largest)


def identities(leaf: Array, axes: Axes) -> Matrices:
    """Return an identity matrix for each axis."""
    return tuple(jnp.eye(leaf.shape[axis], dtype=leaf.dtype) for axis in axes)


def moments(gradient: Array, axes: Axes) -> Matrices:
    """Return M M^T for each axis, with M [size, rest] the unfolding of the gradient."""
    unfolded = [jnp.moveaxis(gradient, axis, 0) for axis in axes]
    rows = [m.reshape(m.shape[0], -1) for m in unfolded]
    return tuple(jnp.matmul(m, m.T, precision=HIGHEST) for m in rows)


def averaged(old: Matrices, new: Matrices, decay: float) -> Matrices:
    """Return the running means decay old + (1 - decay) new."""
    return tuple(decay * a + (1 - decay) * b for a, b in zip(old, new, strict=True))


def multiplied(tensor: Array, axes: Axes, matrices: Matrices) -> Array:
    """Multiply each axis by its matrix from the left: Q_1 G Q_2^T for a matrix G."""
    for axis, matrix in zip(axes, matrices, strict=True):
        product = jnp.tensordot(matrix, tensor, axes=(1, axis), precision=HIGHEST)
        tensor = jnp.moveaxis(product, 0, axis)
    return tensor


def transposed(matrices: Matrices) -> Matrices:
    """Return the transpose of each matrix, the inverse of a rotation."""
    return tuple(matrix.T for matrix in matrices)
