"""Wake behind a cylinder in two dimensions: incompressible flow with inflow and open sides.

    dv/dt + v . grad v = -grad p + viscosity laplace v,   div v = 0

in a box of length 200 along the flow and width 100. Velocities [2 m, m, 2] lie on the lower faces
of square cells, in units of length per time; axis 0 points downstream. The source calls Re the
number of `viscosity`; with the diameter of the cylinder as length, the Reynolds number is Re / 500.

Source: the program of arXiv 2007.00016 (tum-pbs/Solver-in-the-Loop, karman-2d).
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fluid.advection import advect_velocity, semi_lagrangian
from physopt.problems.fluid.diffusion import diffuse
from physopt.problems.fluid.walls import Walls, at_rest, project, walls
from physopt.problems.solver_loop.coarse import Reference

WIDTH, RADIUS, TIME_STEP = 100.0, 10.0, 1.0
CENTRE = (50.0, 50.0)
"""Centre of the cylinder."""
SPEED = 1.0
"""Speed of the inflow."""

Flow = Mapping[str, jax.Array]
"""Context of a simulation: {"re": Re []}."""


def viscosity(re: jax.Array) -> jax.Array:
    """Return 100^2 / Re: the source's diffusion number is dt n^2 / Re on n cells of the width."""
    return WIDTH**2 / re


@functools.cache
def channel(cells: int) -> Walls:
    """Return the geometry on 2 cells x cells: a cylinder, inflow below, the other sides open."""
    shape = (2 * cells, cells)
    spacing = WIDTH / cells
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) + 0.5
    solid = np.linalg.norm(centres * spacing - CENTRE, axis=-1) < RADIUS
    is_open = np.zeros(shape, bool)
    is_open[-1] = is_open[:, 0] = is_open[:, -1] = True
    return walls(solid, is_open)


def with_inflow(velocity: jax.Array) -> jax.Array:
    """Set the velocity along the flow in the first two rows and in the outer columns."""
    along = velocity[..., 0]
    along = along.at[:2].set(SPEED).at[:, 0].set(SPEED).at[:, -1].set(SPEED)
    return velocity.at[..., 0].set(along)


def advance(
    velocity: jax.Array, re: jax.Array, guess: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Return velocity [2 m, m, 2] and pressure [2 m, m] after a step.

    Explicit diffusion, inflow, semi-Lagrangian advection, then projection; guess [2 m, m]: pressure
    from which its solver starts.
    """
    cells = velocity.shape[1]
    scale, geometry = TIME_STEP * cells / WIDTH, channel(cells)
    number = viscosity(re) * TIME_STEP * (cells / WIDTH) ** 2
    diffused = [diffuse(velocity[..., a], number, "edge") for a in range(2)]
    motion = scale * with_inflow(jnp.stack(diffused, axis=-1))
    carried = at_rest(geometry, advect_velocity(motion, semi_lagrangian, "edge"))
    # Faces of the border count as walls, on which the projection keeps the inflow.
    carried = carried.at[0, :, 0].set(scale * SPEED)
    projected = project(geometry, carried, guess)
    return projected.velocity / scale, projected.pressure


def restrict(velocity: jax.Array, refinement: int) -> jax.Array:
    """Average a velocity over the fine faces of each coarse face: [2 n, n, 2] -> [2 m, m, 2].

    Fluxes are kept: the divergence of a coarse cell is the mean of those of its fine cells, times
    the refinement.
    """
    r = refinement
    shape = (velocity.shape[0] // r, r, velocity.shape[1] // r, r)
    along, across = (velocity[..., a].reshape(shape) for a in range(2))
    return jnp.stack([along[:, 0].mean(axis=-1), across[..., 0].mean(axis=1)], axis=-1)


def initial_velocity(key: jax.Array, cells: int) -> jax.Array:
    """Draw a uniform flow with a weak cross-flow behind the cylinder, which starts the shedding.

    The cross-flow is a Gaussian of random place, sign and size, 0.5 to 1.
    """
    of_sign, of_size, of_place = jax.random.split(key, 3)
    size = jax.random.uniform(of_size, minval=0.5, maxval=1.0)
    size = size * jax.random.rademacher(of_sign, (), size.dtype)
    centre = jnp.asarray([80.0, 50.0]) + jax.random.uniform(of_place, (2,), minval=-10, maxval=10)
    spacing = WIDTH / cells
    places = np.meshgrid(np.arange(2 * cells) + 0.5, np.arange(cells), indexing="ij")
    distance = spacing * jnp.asarray(np.stack(places, axis=-1), size.dtype) - centre
    across = size * jnp.exp(-jnp.sum(distance**2, axis=-1) / (2 * 5.0**2))
    return jnp.stack([jnp.full_like(across, SPEED), across], axis=-1)


def reference(
    key: jax.Array, re: jax.Array, cells: int, refinement: int, warmup: int, frames: int
) -> Reference:
    """Simulate on `refinement` times as many cells; states are kept after `warmup` steps."""
    velocity = initial_velocity(key, cells * refinement)

    def step(carry: tuple[jax.Array, jax.Array], _: None):
        carry = advance(carry[0], re, carry[1])
        return carry, None

    def kept(carry: tuple[jax.Array, jax.Array], _: None):
        carry, _ = step(carry, None)
        return carry, restrict(carry[0], refinement)

    start = velocity, jnp.zeros_like(velocity[..., 0])
    warm, _ = jax.lax.scan(step, start, None, warmup)
    _, states = jax.lax.scan(kept, warm, None, frames)
    states = jnp.concatenate([restrict(warm[0], refinement)[None], states])
    return Reference({"re": re}, states, jnp.asarray(warmup * TIME_STEP, velocity.dtype))
