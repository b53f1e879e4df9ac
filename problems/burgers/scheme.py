"""Scheme and scenes of Burgers' equation: a step of the velocity field, and random fields."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from physopt.machine.devices import has_triton
from physopt.numerics.time_kernel import Kernel

KERNEL_CELLS = (4, 8, 16, 32, 64, 128)
"""Sizes of fields that a kernel integrates."""


def advance(u: jax.Array, viscosity: float) -> jax.Array:
    """Advance velocities [..., n] by a step: semi-Lagrangian advection, then explicit diffusion.

    Advection interpolates linearly at s - u, clipped to the grid; diffusion has no flux through
    the ends.
    """
    return diffuse(advect(u), viscosity)


def advect(u: jax.Array) -> jax.Array:
    """Carry velocities [..., n] along themselves for a step."""
    left, fraction = departure(u)
    index = left.astype(int)
    below, above = (jnp.take_along_axis(u, cell, axis=-1) for cell in (index, index + 1))
    return below + (above - below) * fraction


def diffuse(u: jax.Array, viscosity: float) -> jax.Array:
    """Diffuse velocities [..., n] for a step."""
    padded = jnp.pad(u, [(0, 0)] * (u.ndim - 1) + [(1, 1)], mode="edge")
    return u + viscosity * (padded[..., 2:] + padded[..., :-2] - 2 * u)


def advance_densely(u: jax.Array, viscosity: float) -> jax.Array:
    """Return `advance` of one field [n] from masked sums over all cells: kernels cannot gather."""
    cell = jnp.arange(u.shape[0], dtype=np.int32)

    def gathered(field: jax.Array, index: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(index[:, None] == cell[None], field[None], 0), axis=1)

    left, fraction = departure(u)
    index = left.astype(np.int32)
    below, above = gathered(u, index), gathered(u, index + 1)
    advected = below + (above - below) * fraction
    before = gathered(advected, jnp.maximum(cell - 1, 0))
    after = gathered(advected, jnp.minimum(cell + 1, u.shape[0] - 1))
    return advected + viscosity * (after + before - 2 * advected)


def departure(u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return where advection comes from: the cell to the left of s - u, and the distance to it."""
    last = u.shape[-1] - 1
    place = jnp.clip(jnp.arange(last + 1, dtype=np.int32) - u, 0, last)
    left = jnp.clip(jnp.floor(place), 0, last - 1)
    return left, place - left


def kernel_for(cells: int) -> Kernel | None:
    """Return the kernel that integrates fields on a GPU, None elsewhere.

    A thread holds 32 of the cells^2 terms of the masked sums.
    """
    if cells not in KERNEL_CELLS or not has_triton():
        return None
    return Kernel(lanes=1, warps=max(1, cells**2 // 1024))


def advance_in(kernel: Kernel | None) -> Callable[[jax.Array, float], jax.Array]:
    """Return the form of `advance` for one field in a kernel, or outside of one."""
    return advance_densely if kernel else advance


def random_scene(key: jax.Array, cells: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw an initial field [n], a driving force [n], and whether the scene is mirrored.

    On z in [0, 1]: a Gaussian of width U(.05, .15) and height U(0, 3) at U(.2, .4), and one of
    height U(-3, 0) at U(.6, .8), which collide; the force is a Gaussian of width U(.1, .4) and
    height U(-.05, .05) at U(.4, .6). Half of the scenes are mirrored, s -> -s, u -> -u.
    """
    shape_key, coin = jax.random.split(key)
    #        left: height, place, width   right: the same   force: the same
    lower = [0.0, 0.2, 0.05, -3.0, 0.6, 0.05, -0.05, 0.4, 0.1]
    upper = [3.0, 0.4, 0.15, 0.0, 0.8, 0.15, 0.05, 0.6, 0.4]
    drawn = jax.random.uniform(
        shape_key, (9,), minval=jnp.asarray(lower), maxval=jnp.asarray(upper)
    )
    height, place, width = drawn.reshape(3, 3).T[:, :, None]
    z = jnp.asarray(np.linspace(0, 1, cells), drawn.dtype)
    left, right, force = height * jnp.exp(-(((z - place) / width) ** 2) / 2)
    return left + right, force, jax.random.bernoulli(coin)
