"""Matrices and isotherms for the studies, as NumPy arrays in float64.

They are drawn in float32 regardless of JAX's default, so that a seed gives the same matrices in
both precisions.

A study takes matrices as an array, [matrices, n, n] or [matrices, n, n, n], computes in its dtype,
float32 or float64, and returns a DataFrame.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import jax
import numpy as np

from physopt.problems.ldft.isotherm import isotherm
from physopt.problems.ldft.named import LDFT2D, LDFT3D
from physopt.problems.ldft.targets import procedural_target, random_matrix

# Compiled once per shape and set of options; a direct call of `isotherm` compiles every time.
compiled_isotherm = jax.jit(
    isotherm,
    static_argnames=("dimensions", "spacing", "desorption", "gradient", "sweeps", "fluid"),
)


def random_matrices(seed: int, count: int, size: int, dimensions: int) -> np.ndarray:
    """Draw binary matrices [count, size, size(, size)] of the problems' porosities and textures."""
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(seed), count)
        drawn = jax.vmap(lambda key: random_matrix(key, (size,) * dimensions))(keys)
    return np.asarray(drawn, np.float64)


def designed_matrices(
    seed: int, count: int, size: int, dimensions: int, iterations: int = 8
) -> np.ndarray:
    """Design binary matrices [count, size, size(, size)] for reachable isotherms.

    The targets are held-out isotherms of ldft2d or ldft3d. The damped Gauss-Newton solver starts
    from noise at the best of six porosities and takes `iterations` steps; its result is rounded.
    """
    lattice = LDFT2D if dimensions == 2 else LDFT3D
    problem = lattice(
        size=size, inverse_iterations=iterations, inverse_offsets=(-1.0, 0.0, 1.0, 2.0, 3.0, 4.0)
    )
    with jax.enable_x64(False):
        wanted, noise = jax.random.split(jax.random.key(seed))
        batch = problem.held_out(jax.random.split(wanted, count)).at(1.0)
        start = jax.random.normal(noise, (count, *problem.shape))
        designed = problem.design(jax.jit(problem.invert)(start, batch))
    return np.asarray(designed, np.float64)


def near_binary(matrices: np.ndarray, distance: float, seed: int) -> np.ndarray:
    """Move each site from 0 or 1 towards the other value by a random distance.

    eta = m + (1 - 2 m) u,  u ~ U(0, distance): a matrix as it occurs late in a relaxed
    optimisation.
    """
    shift = distance * np.random.default_rng(seed).random(matrices.shape)
    return matrices + (1 - 2 * matrices) * shift


def procedural_isotherms(seed: int, count: int, points: int = 40) -> np.ndarray:
    """Draw procedural targets [count, points] as in training, reachable or not."""
    with jax.enable_x64(False):
        keys = jax.random.split(jax.random.key(seed), count)
        drawn = jax.vmap(lambda key: procedural_target(key, points))(keys)
    return np.asarray(drawn, np.float64)


def in_precision_of(matrices: np.ndarray) -> AbstractContextManager:
    """Return a context in which JAX computes in the precision of an array."""
    return jax.enable_x64(matrices.dtype == np.float64)


def area_percent(y: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return 100 mean_h |y - other| of isotherms [matrices, points]: [matrices]."""
    return 100 * np.mean(np.abs(y - other), axis=-1)


def lattice_of(matrices: np.ndarray) -> dict[str, int]:
    """Return the first columns of every frame: dimensions and size of the lattice.

    Raises ValueError for an array that is not [matrices, n, n] or [matrices, n, n, n] or that has
    values outside [0, 1], which compiled code cannot check.
    """
    shape = np.shape(matrices)
    if len(shape) not in (3, 4) or len(set(shape[1:])) != 1:
        raise ValueError(f"matrices are [matrices, n, n] or [matrices, n, n, n], not {shape}")
    if not np.all((np.asarray(matrices) >= 0) & (np.asarray(matrices) <= 1)):
        raise ValueError("matrices must lie in [0, 1]; some values do not, or are NaN")
    return {"dimensions": len(shape) - 1, "size": shape[1]}
