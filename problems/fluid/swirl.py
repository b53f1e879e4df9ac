"""Scenes of a marker in a translated swirl, and the velocity's three-parameter family.

Lengths are those of the source: a periodic square of side 128, and a duration of 2. Positions are
relative to its middle, in which every swirl starts. Axis 0 is x, axis 1 is y.

Source: the published program of arXiv 2109.15048, section 3.5.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fields import random_field

SIDE = 128.0
DURATION = 2.0
CORE = 20.0
"""Standard deviation of the swirl's Gaussian envelope."""


class Motion(NamedTuple):
    """A velocity field of the family u + omega (-y, x) exp(-r^2 / (2 CORE^2))."""

    translation: jax.Array
    """u [2]."""
    spin: jax.Array
    """omega []."""

    def velocity(self, n: int) -> jax.Array:
        """Return the velocity in cell centres, [n, n, 2]."""
        return self.translation + self.spin * jnp.asarray(swirl(n), self.spin.dtype)


def positions(n: int) -> np.ndarray:
    """Return the cell centres [n, n, 2] relative to the middle."""
    axis = (np.arange(n) + 0.5) * SIDE / n - SIDE / 2
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)


def swirl(n: int) -> np.ndarray:
    """Return the swirl of omega = 1 in cell centres, [n, n, 2]."""
    place = positions(n)
    x, y = place[..., 0], place[..., 1]
    return np.stack([-y, x], axis=-1) * _envelope(place)[..., None]


def _envelope(place: np.ndarray) -> np.ndarray:
    return np.exp(-np.sum(place**2, axis=-1) / (2 * CORE**2))


def spin_of(velocity: jax.Array) -> jax.Array:
    """Return omega = mean(r x v) / mean(r^2 exp(-r^2 / (2 CORE^2))) of a velocity [n, n, 2].

    It is exact for a pure swirl, and 0 for a translation.
    """
    place = positions(velocity.shape[0])
    size = np.mean(np.sum(place**2, axis=-1) * _envelope(place))
    return jnp.mean(cross(jnp.asarray(place, velocity.dtype), velocity)) / size


def cross(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return a_x b_y - a_y b_x for vectors [..., 2]."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def centre_of_mass(marker: jax.Array) -> jax.Array:
    """Return the centre of mass of a marker, [..., n, n] -> [..., 2], without regard to periods."""
    place = jnp.asarray(positions(marker.shape[-1]), marker.dtype)
    mass = jnp.sum(marker, axis=(-2, -1))[..., None]
    return jnp.sum(marker[..., None] * place, axis=(-3, -2)) / jnp.where(mass > 0, mass, 1)


def centring(marker: jax.Array) -> jax.Array:
    """Return the translation that leads a marker's centre of mass to the middle, [2]."""
    return -centre_of_mass(marker) / DURATION


def random_scene(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Draw a marker [n, n] and an initial velocity in cell centres [n, n, 2].

    The marker is 1 where a random field is largest inside a box of half side 28, whose centre is
    uniform in the middle half of the square; it covers 5 to 15 % of the square, or less where the
    field is positive in less (at most about 10 %). The velocity is the translation that leads the
    marker's centre of mass to the middle, a swirl of omega in U(-2, 2), and random fields of
    standard deviation 0.1.
    """
    keys = jax.random.split(key, 5)
    centre = jax.random.uniform(keys[0], (2,), minval=-SIDE / 4, maxval=SIDE / 4)
    share = jax.random.uniform(keys[1], minval=0.05, maxval=0.15)
    inside = jnp.all(jnp.abs(jnp.asarray(positions(n), centre.dtype) - centre) < 28, axis=-1)
    scale = 10 * n / SIDE
    field = random_field(keys[2], (n, n), scale) * inside
    marker = (field > jnp.quantile(field, 1 - share)) & inside
    marker = marker.astype(field.dtype)
    spin = jax.random.uniform(keys[3], minval=-2.0, maxval=2.0)
    noise = jax.vmap(lambda key: random_field(key, (n, n), scale))(jax.random.split(keys[4]))
    motion = Motion(centring(marker), spin)
    return marker, motion.velocity(n) + 0.1 * jnp.moveaxis(noise, 0, -1)
