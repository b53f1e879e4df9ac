"""Inviscid flow in a closed box: a step of the velocity, and smoke that is carried along."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fluid.advection import advect_velocity, semi_lagrangian
from physopt.problems.fluid.buoyancy import buoyancy
from physopt.problems.fluid.closed_box import solve_in_closed_box
from physopt.problems.fluid.grid import velocity_at_centres
from physopt.problems.fluid.walls import Walls, at_rest, divergence_in, free_gradient, walls


def closed_box(size: int) -> Walls:
    """Return a box of size x size cells of fluid."""
    return walls(np.zeros((size, size), bool))


def projected(velocity: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the part of a velocity [n, n, 2] that has no divergence and is 0 on the walls.

    Also returns the divergence that the pressure removes, [n, n].
    """
    box = closed_box(len(velocity))
    moving = at_rest(box, velocity)
    divergence = divergence_in(box, moving)
    return moving - free_gradient(box, solve_in_closed_box(divergence)), divergence


def without_divergence(velocity: jax.Array) -> jax.Array:
    """Return the part of a velocity [n, n, 2] that has no divergence and is 0 on the walls."""
    return projected(velocity)[0]


def carried(velocity: jax.Array) -> jax.Array:
    """Return the velocity advected by itself for a step, before pressure acts: [n, n, 2]."""
    return advect_velocity(velocity, semi_lagrangian, "zero")


def move(density: jax.Array, velocity: jax.Array) -> jax.Array:
    """Return smoke [n, n] moved by a velocity [n, n, 2] for a step."""
    return semi_lagrangian(density, velocity_at_centres(velocity, "zero"), "edge")


def rise(
    density: jax.Array, velocity: jax.Array, lift: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return density [n, n], velocity [n, n, 2] and the removed divergence [n, n] after a step.

    Smoke of density 1 is accelerated upwards, along the second axis, by `lift` cells per step
    squared.
    """
    density = move(density, velocity)
    risen = carried(velocity) + buoyancy(density, (0.0, lift), "edge")
    return density, *projected(risen)


def natural_flow(
    density: jax.Array, velocity: jax.Array, steps: int, lift: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Return densities [steps + 1, n, n] and velocities [steps, n, n, 2] without control.

    velocity [n, n, 2] acts in the first step; see `rise`.
    """

    def step(state: tuple[jax.Array, jax.Array], _: None):
        density, velocity, _ = rise(*state, lift)
        return (density, velocity), (density, state[1])

    _, (later, velocities) = jax.lax.scan(step, (density, velocity), length=steps)
    return jnp.concatenate([density[None], later]), velocities
