"""Advection on a grid: semi-Lagrangian, and MacCormack with a limiter.

The motion [*grid, d] is the displacement in one time step, in cells, at the points of the field:
in cell centres, or on the faces of one axis. Any length is stable.
"""

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fluid.grid import BOUNDARIES, velocity_at_faces

Advection = Callable[[jax.Array, jax.Array, str], jax.Array]


class Interpolated(NamedTuple):
    """Interpolated values, and the range of the 2^d values around each point."""

    value: jax.Array
    lowest: jax.Array
    highest: jax.Array


def interpolate(field: jax.Array, position: jax.Array, boundary: str = "periodic") -> Interpolated:
    """Interpolate a field [*grid] linearly along each axis at positions [..., d], in cells.

    Position i is that of entry i of the field.
    """
    padded = jnp.pad(field, 1, mode=BOUNDARIES[boundary].padding)
    flat, stride, weights, offsets = padded.ravel(), 1, [], []
    for axis in reversed(range(field.ndim)):
        n = field.shape[axis]
        place = BOUNDARIES[boundary].inside(position[..., axis], n)
        left = jnp.clip(jnp.floor(place), -1, n - 1)
        index = stride * (left.astype(np.int32) + 1)
        weights.append((1 - (place - left), place - left))
        offsets.append((index, index + stride))
        stride *= padded.shape[axis]
    corners, value = [], 0.0
    for corner in product((0, 1), repeat=field.ndim):
        index = sum(offset[side] for offset, side in zip(offsets, corner, strict=True))
        weight = 1.0
        for pair, side in zip(weights, corner, strict=True):
            weight = weight * pair[side]
        # Clipped: a position that is not a number must not read outside the array.
        corners.append(flat.at[index].get(mode="clip"))
        value = value + weight * corners[-1]
    together = jnp.stack(corners)
    return Interpolated(jnp.asarray(value), together.min(axis=0), together.max(axis=0))


def semi_lagrangian(field: jax.Array, motion: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Return the field at the points from which it is carried here: field(s - motion), [*grid].

    First order in the spacing where time step and spacing are refined together; no new extrema.
    """
    return interpolate(field, _points(field) - motion, boundary).value


def maccormack(field: jax.Array, motion: jax.Array, boundary: str = "periodic") -> jax.Array:
    """Return semi-Lagrangian advection with half of its own round-trip error removed, [*grid].

    f' = f(s - motion), f'' = f'(s + motion); the result is f' + (f - f'') / 2, clipped to the range
    of the values between which f' was interpolated. Second order away from extrema.

    Source: A. Selle, R. Fedkiw, B. Kim, Y. Liu, J. Rossignac, J. Sci. Comput. 35, 350 (2008),
    doi 10.1007/s10915-007-9166-4.
    """
    points = _points(field)
    carried = interpolate(field, points - motion, boundary)
    returned = interpolate(carried.value, points + motion, boundary).value
    corrected = carried.value + 0.5 * (field - returned)
    return jnp.clip(corrected, carried.lowest, carried.highest)


def advect_velocity(
    velocity: jax.Array, method: Advection = maccormack, boundary: str = "periodic"
) -> jax.Array:
    """Advect a staggered velocity [*grid, d], in cells per step, by itself over one step."""
    components = [
        method(velocity[..., a], velocity_at_faces(velocity, a, boundary), boundary)
        for a in range(velocity.shape[-1])
    ]
    return jnp.stack(components, axis=-1)


def _points(field: jax.Array) -> jax.Array:
    """Return the positions of the entries of a field, [*grid, d]."""
    axes = [np.arange(n) for n in field.shape]
    return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1), field.dtype)
