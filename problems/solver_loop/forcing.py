"""Burgers' equation in two dimensions under random waves of force: a coarse and a fine solver.

    dv/dt + v . grad v = viscosity laplace v + f(s, t)

on a periodic square of side 32. Velocities [n, n, 2] are in cell centres and in units of length per
time. The waves do not fit the square, so that the force jumps at its border, as in the source.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.linalg import HIGHEST
from physopt.problems.fluid.advection import semi_lagrangian
from physopt.problems.fluid.diffusion import diffuse
from physopt.problems.solver_loop.coarse import Reference
from physopt.problems.solver_loop.noise import decaying_noise

SIDE, TIME_STEP, VISCOSITY = 32.0, 0.1, 0.1

WAVES = 20
"""Waves of force, whose sum has a standard deviation of 0.27 in each component."""


class Waves(NamedTuple):
    """Waves amplitude * sin(vector . s + phase + rate t)."""

    vector: jax.Array
    """[waves, 2], 0.8 to 1.6 long."""
    amplitude: jax.Array
    """[waves, 2], within +-0.15."""
    phase: jax.Array
    """[waves]"""
    rate: jax.Array
    """[waves], within +-0.4."""


def random_waves(key: jax.Array) -> Waves:
    """Draw the waves of one simulation."""
    angle, length, phase, rate, *amplitude = jax.random.uniform(key, (6, WAVES))
    directions = jnp.stack([jnp.sin(np.pi * angle), jnp.cos(np.pi * angle)], axis=-1)
    return Waves(
        0.8 * (1 + length)[:, None] * directions,
        0.3 * (jnp.stack(amplitude, axis=-1) - 0.5),
        2 * np.pi * phase,
        0.8 * rate - 0.4,
    )


def force(waves: Waves, time: jax.Array, cells: int) -> jax.Array:
    """Return the force in the centres of cells x cells at a time, [n, n, 2].

    sin(a + b) = sin a cos b + cos a sin b, with a and b of one coordinate each: two products of
    matrices instead of a sine for each wave and cell.
    """
    place = jnp.asarray((np.arange(cells) + 0.5) * SIDE / cells, waves.vector.dtype)
    first = waves.vector[:, :1] * place + (waves.phase + waves.rate * time)[:, None]
    second = waves.vector[:, 1:] * place
    left = jnp.concatenate([jnp.sin(first), jnp.cos(first)])
    right = jnp.concatenate([jnp.cos(second), jnp.sin(second)])
    weights = jnp.concatenate([waves.amplitude, waves.amplitude])
    return jnp.einsum("ki,kj,kc->ijc", left, right, weights, precision=HIGHEST)


def advance(velocity: jax.Array, pushed: jax.Array) -> jax.Array:
    """Return the velocity after a time step under a force, both [n, n, 2].

    Semi-Lagrangian advection, explicit diffusion, then the force.
    """
    spacing = SIDE / len(velocity)
    motion = velocity * (TIME_STEP / spacing)
    number = VISCOSITY * TIME_STEP / spacing**2

    def step(component: jax.Array) -> jax.Array:
        return diffuse(semi_lagrangian(component, motion), number)

    return jax.vmap(step, in_axes=-1, out_axes=-1)(velocity) + TIME_STEP * pushed


def restrict(velocity: jax.Array, refinement: int) -> jax.Array:
    """Average over blocks of refinement x refinement cells: [n, n, 2] -> [m, m, 2]."""
    m = len(velocity) // refinement
    blocks = velocity.reshape(m, refinement, m, refinement, 2)
    return jnp.mean(blocks, axis=(1, 3))


def reference(key: jax.Array, cells: int, refinement: int, warmup: int, frames: int) -> Reference:
    """Simulate on `refinement` times as many cells; states are kept after `warmup` steps.

    The first velocity has smooth random components, with a standard deviation of 0.2.
    """
    of_waves, *of_components = jax.random.split(key, 3)
    fine = cells * refinement
    waves = random_waves(of_waves)
    noise = [decaying_noise(key, (fine, fine), 8.0) for key in of_components]

    def step(velocity: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
        after = advance(velocity, force(waves, time, fine))
        return after, restrict(after, refinement)

    times = TIME_STEP * jnp.arange(warmup + frames, dtype=noise[0].dtype)
    warm, _ = jax.lax.scan(
        lambda v, t: (step(v, t)[0], None), 2 * jnp.stack(noise, axis=-1), times[:warmup]
    )
    _, states = jax.lax.scan(step, warm, times[warmup:])
    first = restrict(warm, refinement)[None]
    return Reference(waves, jnp.concatenate([first, states]), jnp.asarray(warmup * TIME_STEP))
