"""Rising smoke in a closed box: divergences as a pressure solver meets them in a simulation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from physopt.problems.fluid.closed_flow import closed_box, rise
from physopt.problems.fluid.walls import at_rest, divergence_in, solvable
from physopt.problems.solver_loop.noise import decaying_noise

LIFT = 0.981
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


def random_smoke(key: jax.Array, size: int) -> Smoke:
    """Draw a density max(0, f) and the components 2 f of a velocity, f random smooth fields."""
    fields = jax.vmap(lambda key: decaying_noise(key, (size, size), POWER))
    density, *velocity = fields(jax.random.split(key, 3))
    return Smoke(jnp.maximum(density, 0), 2 * jnp.stack(velocity, axis=-1))


def advance(smoke: Smoke) -> tuple[Smoke, jax.Array]:
    """Return the state after a step, and the divergence that its pressure removed, [n, n]."""
    density, velocity, divergence = rise(*smoke, LIFT)
    return Smoke(density, velocity), divergence


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
