"""Scheme and scenes of Burgers' equation: a step of the velocity field, and random fields."""

import jax
import jax.numpy as jnp
import numpy as np


def advance(u: jax.Array, viscosity: float) -> jax.Array:
    """Advance velocities [..., n] by a step: semi-Lagrangian advection, then explicit diffusion.

    Advection interpolates linearly at s - u, clipped to the grid; diffusion has no flux through
    the ends.
    """
    last = u.shape[-1] - 1
    place = jnp.clip(jnp.arange(last + 1) - u, 0, last)
    left = jnp.clip(jnp.floor(place).astype(int), 0, last - 1)
    below, above = (jnp.take_along_axis(u, index, axis=-1) for index in (left, left + 1))
    advected = below + (above - below) * (place - left)
    padded = jnp.pad(advected, [(0, 0)] * (u.ndim - 1) + [(1, 1)], mode="edge")
    return advected + viscosity * (padded[..., 2:] + padded[..., :-2] - 2 * advected)


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
