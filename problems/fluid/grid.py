"""Staggered (MAC) grid: fields in cell centres, velocities on faces, and what connects them.

A field [*grid] has any number d of dimensions. A velocity [*grid, d] holds component a on the lower
faces along axis a: entry i lies half a cell below the centre of cell i. The spacing is 1, and
velocities are in cells per time step. All functions take one field; vmap them over a batch.

`boundary` names what lies outside the grid: "periodic", "edge" (the value of the nearest cell) or
"zero".
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Boundary(NamedTuple):
    """What lies outside the grid."""

    padding: str
    """Mode of jnp.pad."""
    inside: Callable[[jax.Array, int], jax.Array]
    """Map positions along an axis of n cells, in cells, to equivalent ones in [-1, n]."""


def _wrapped(position: jax.Array, n: int) -> jax.Array:
    return position - n * jnp.floor(position / n)


def _clipped(position: jax.Array, n: int) -> jax.Array:
    return jnp.clip(position, -1, n)


BOUNDARIES = {
    "periodic": Boundary("wrap", _wrapped),
    "edge": Boundary("edge", _clipped),
    "zero": Boundary("constant", _clipped),
}


def before(field: jax.Array, axis: int, boundary: str = "periodic") -> jax.Array:
    """Return the values of the cells before along an axis: entry i is field[i - 1], [*grid]."""
    return lax.slice_in_dim(_padded(field, axis, (1, 0), boundary), 0, -1, axis=axis)


def after(field: jax.Array, axis: int, boundary: str = "periodic") -> jax.Array:
    """Return the values of the cells after along an axis: entry i is field[i + 1], [*grid]."""
    return lax.slice_in_dim(_padded(field, axis, (0, 1), boundary), 1, None, axis=axis)


def _padded(field: jax.Array, axis: int, width: tuple[int, int], boundary: str) -> jax.Array:
    widths = [(0, 0)] * field.ndim
    widths[axis] = width
    return jnp.pad(field, widths, mode=BOUNDARIES[boundary].padding)


def to_faces(field: jax.Array, axis: int, boundary: str = "periodic") -> jax.Array:
    """Average a field in cell centres to the lower faces along an axis, [*grid]."""
    return 0.5 * (before(field, axis, boundary) + field)


def to_centres(component: jax.Array, axis: int, boundary: str = "periodic") -> jax.Array:
    """Average values on the faces along an axis to cell centres, [*grid]."""
    return 0.5 * (component + after(component, axis, boundary))


def velocity_on_faces(centred: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Average a velocity in cell centres [*grid, d] to a staggered one [*grid, d]."""
    components = [to_faces(centred[..., a], a, boundary) for a in range(centred.shape[-1])]
    return jnp.stack(components, axis=-1)


def velocity_at_centres(velocity: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Average a staggered velocity to cell centres: [*grid, d] -> [*grid, d]."""
    components = [to_centres(velocity[..., a], a, boundary) for a in range(velocity.shape[-1])]
    return jnp.stack(components, axis=-1)


def velocity_at_faces(velocity: jax.Array, axis: int, boundary: str = "periodic") -> jax.Array:
    """Return all components of a staggered velocity at the faces along one axis, [*grid, d]."""
    components = [
        velocity[..., a]
        if a == axis
        else to_faces(to_centres(velocity[..., a], a, boundary), axis, boundary)
        for a in range(velocity.shape[-1])
    ]
    return jnp.stack(components, axis=-1)


def divergence(velocity: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Return the divergence of a staggered velocity: [*grid, d] -> [*grid]."""
    components = [velocity[..., a] for a in range(velocity.shape[-1])]
    return sum(after(v, a, boundary) - v for a, v in enumerate(components))  # type: ignore[return-value]


def gradient(field: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Return the gradient of a field on the faces: [*grid] -> [*grid, d].

    On a periodic grid it is minus the adjoint of `divergence`.
    """
    return jnp.stack([field - before(field, a, boundary) for a in range(field.ndim)], axis=-1)


def laplacian(field: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Return the Laplacian with 2 d + 1 points, on any of the grids: [*grid] -> [*grid]."""
    neighbours = sum(
        before(field, a, boundary) + after(field, a, boundary) for a in range(field.ndim)
    )
    return neighbours - 2 * field.ndim * field
