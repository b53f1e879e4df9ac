"""Rising smoke in a closed box: divergences as a pressure solver meets them in a simulation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fluid.advection import advect_velocity, semi_lagrangian
from physopt.problems.fluid.buoyancy import buoyancy
from physopt.problems.fluid.closed_box import solve_in_closed_box
from physopt.problems.fluid.grid import velocity_at_centres
from physopt.problems.fluid.walls import (
    Walls,
    at_rest,
    divergence_in,
    free_gradient,
    solvable,
    walls,
)
from physopt.problems.solver_loop.noise import decaying_noise

LIFT = (0.0, 0.981)
"""Acceleration of smoke of density 1, cells per step squared: a tenth of gravity, upwards."""

LEAST = 1e-4
"""Standard deviation of a divergence below which the fluid is at rest; at first it is near 0.1."""

POWER = 32.0
"""Decay of the random fields."""


class Smoke(NamedTuple):
    """State of the simulation."""

    density: jax.Array
    """[n, n]"""
    velocity: jax.Array
    """On lower faces, in cells per step, [n, n, 2]."""


def closed_box(size: int) -> Walls:
    """Return a box of size x size cells of fluid."""
    return walls(np.zeros((size, size), bool))


def random_smoke(key: jax.Array, size: int) -> Smoke:
    """Draw a density max(0, f) and the components 2 f of a velocity, f random smooth fields."""
    fields = jax.vmap(lambda key: decaying_noise(key, (size, size), POWER))
    density, *velocity = fields(jax.random.split(key, 3))
    return Smoke(jnp.maximum(density, 0), 2 * jnp.stack(velocity, axis=-1))


def advance(smoke: Smoke) -> tuple[Smoke, jax.Array]:
    """Return the state after a step, and the divergence that its pressure removed, [n, n]."""
    box = closed_box(len(smoke.density))
    motion = velocity_at_centres(smoke.velocity, "zero")
    density = semi_lagrangian(smoke.density, motion, "edge")
    carried = advect_velocity(smoke.velocity, semi_lagrangian, "zero")
    velocity = at_rest(box, carried + buoyancy(density, LIFT, "edge"))
    divergence = divergence_in(box, velocity)
    push = free_gradient(box, solve_in_closed_box(divergence))
    return Smoke(density, velocity - push), divergence


def random_divergence(key: jax.Array, size: int, frames: int) -> jax.Array:
    """Draw the divergence of one of the first `frames` steps of a simulation, [n, n].

    It is scaled to unit standard deviation, and has no mean. If the fluid has come to rest by then,
    as a uniform velocity without smoke does, it is the last divergence before.
    """
    of_smoke, of_frame = jax.random.split(key)
    drawn = jax.random.randint(of_frame, (), 0, frames)

    def step(carry: tuple[Smoke, jax.Array], frame: jax.Array):
        smoke, kept = carry
        smoke, divergence = advance(smoke)
        is_kept = (frame <= drawn) & (jnp.std(divergence) > LEAST)
        return (smoke, jnp.where(is_kept, divergence, kept)), None

    start, box = random_smoke(of_smoke, size), closed_box(size)
    first = divergence_in(box, at_rest(box, start.velocity))
    (_, kept), _ = jax.lax.scan(step, (start, first), jnp.arange(frames))
    return solvable(box, kept / jnp.std(kept))
