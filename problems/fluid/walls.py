"""Pressure in a box with solid walls, obstacles and open cells, by conjugate gradients.

A cell is fluid, solid or open; outside the grid all is solid. In open cells the pressure is 0. A
face is free if no solid cell touches it. Fields are [*grid] and velocities [*grid, d] on lower
faces, as in `grid`: the upper border has no entries, since nothing flows through it. An open side
is a layer of open cells. The pressure of a velocity v solves

    div (free grad p) = div v   in fluid cells,   p = 0 elsewhere.

A region of fluid without open neighbours has p of zero mean, and its source loses its mean, which
no pressure can remove. All functions take one sample; vmap them over a batch.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import ndimage

from physopt.problems.fluid.conjugate_gradient import System, conjugate_gradient
from physopt.problems.fluid.grid import divergence, gradient


class Walls(NamedTuple):
    """The geometry of a domain, as constants of the program."""

    fluid: np.ndarray
    """1 in fluid cells, 0 elsewhere, [*grid]."""
    free: np.ndarray
    """1 on faces through which fluid can flow, 0 on walls, [*grid, d]."""
    closed: np.ndarray
    """Orthonormal constants on the regions without open neighbours, [regions, *grid]."""


class Projected(NamedTuple):
    """A velocity without divergence."""

    velocity: jax.Array
    """[*grid, d]"""
    pressure: jax.Array
    """[*grid]"""
    iterations: jax.Array
    """Iterations of the solver, [] int32."""


def walls(solid: np.ndarray, open_cells: np.ndarray | None = None) -> Walls:
    """Return the geometry of boolean maps of solid and open cells, [*grid] each."""
    passable = ~np.asarray(solid, bool)
    is_open = np.zeros_like(passable) if open_cells is None else passable & open_cells
    fluid = passable & ~is_open
    free = [passable & _cells_before(passable, axis) for axis in range(passable.ndim)]
    regions = np.zeros(fluid.shape, int)
    ndimage.label(fluid, output=regions)
    outlets = ndimage.binary_dilation(is_open)  # open cells and their neighbours
    labels = range(1, regions.max() + 1)
    closed = [regions == k for k in labels if not (outlets & (regions == k)).any()]
    constants = [region / np.sqrt(region.sum()) for region in closed]
    return Walls(
        fluid.astype(float),
        np.stack(free, axis=-1).astype(float),
        np.reshape(constants, (len(closed), *fluid.shape)),
    )


def _cells_before(cells: np.ndarray, axis: int) -> np.ndarray:
    """Return the map of the cells before along an axis; outside the grid is none."""
    moved = np.roll(cells, 1, axis)
    moved[(slice(None),) * axis + (0,)] = False
    return moved


def at_rest(geometry: Walls, velocity: jax.Array) -> jax.Array:
    """Return a velocity that is 0 on all walls, [*grid, d]."""
    return jnp.asarray(geometry.free, velocity.dtype) * velocity


def divergence_in(geometry: Walls, velocity: jax.Array) -> jax.Array:
    """Return the divergence in fluid cells, 0 elsewhere: [*grid, d] -> [*grid]."""
    return jnp.asarray(geometry.fluid, velocity.dtype) * divergence(velocity, "zero")


def free_gradient(geometry: Walls, pressure: jax.Array) -> jax.Array:
    """Return the gradient on free faces, 0 on walls: [*grid] -> [*grid, d]."""
    return at_rest(geometry, gradient(pressure, "zero"))


def laplacian_in(geometry: Walls, pressure: jax.Array) -> jax.Array:
    """Return div (free grad p) in fluid cells for a pressure that counts there alone, [*grid].

    Symmetric and negative semidefinite; its null space are constants on closed regions.
    """
    inside = jnp.asarray(geometry.fluid, pressure.dtype) * pressure
    return divergence_in(geometry, free_gradient(geometry, inside))


def solvable(geometry: Walls, field: jax.Array) -> jax.Array:
    """Return a field in fluid cells without its mean over each closed region, [*grid]."""
    inside = jnp.asarray(geometry.fluid, field.dtype) * field
    constants = jnp.asarray(geometry.closed, field.dtype)
    means = jnp.sum(constants * inside, axis=tuple(range(1, constants.ndim)), keepdims=True)
    return inside - jnp.sum(means * constants, axis=0)


def solve_pressure(
    geometry: Walls,
    source: jax.Array,
    guess: jax.Array | None = None,
    tolerance: float = 1e-5,
    most: int = 1000,
) -> tuple[jax.Array, jax.Array]:
    """Return p [*grid] with laplacian_in(p) = source, and the iterations it took, [] int32.

    guess [*grid]: where the iteration starts, 0 if None. It ends when no cell's residual exceeds
    tolerance * max |source|, or after `most` iterations.
    p is linear in the source, and its derivative in both modes is one more solve to the same
    relative tolerance: nothing of the iteration is stored. It does not depend on the guess.
    """

    def solve(source: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        limit = tolerance * jnp.max(jnp.abs(source))
        state = conjugate_gradient(pressure_system(geometry, source), start, limit, most)
        return solvable(geometry, state.x), state.iterations

    fixed = lax.stop_gradient(source)
    start = jnp.zeros_like(source) if guess is None else solvable(geometry, guess)
    pressure, iterations = solve(fixed, lax.stop_gradient(start))
    # The change is 0, found without an iteration, and has the derivative of the solution.
    change = lax.custom_linear_solve(
        partial(laplacian_in, geometry),
        source - fixed,
        lambda _, right: solve(right, jnp.zeros_like(right))[0],
        symmetric=True,
    )
    return pressure + change, iterations


def pressure_system(geometry: Walls, source: jax.Array) -> System:
    """Return the positive semidefinite equations -laplacian_in(p) = -source."""
    return System(
        lambda pressure: -laplacian_in(geometry, pressure),
        -solvable(geometry, source),
        partial(solvable, geometry),
    )


def project(
    geometry: Walls,
    velocity: jax.Array,
    guess: jax.Array | None = None,
    tolerance: float = 1e-5,
    most: int = 1000,
) -> Projected:
    """Return v - free grad p, whose divergence in fluid cells vanishes up to the tolerance.

    Values on walls are kept: 0 for walls at rest (`at_rest`), others for moving walls or an inflow.
    The divergence of a closed region keeps its mean, which is 0 for walls at rest.
    The other arguments are those of `solve_pressure`.
    """
    source = divergence_in(geometry, velocity)
    pressure, iterations = solve_pressure(geometry, source, guess, tolerance, most)
    return Projected(velocity - free_gradient(geometry, pressure), pressure, iterations)
