"""Inviscid flow on a periodic grid with a passive marker: one time step, and rollouts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from physopt.problems.fluid.advection import advect_velocity, maccormack
from physopt.problems.fluid.grid import velocity_at_centres
from physopt.problems.fluid.projection import project


class Flow(NamedTuple):
    """State of a flow; a rollout has a leading axis of times."""

    velocity: jax.Array
    """On faces, in cells per step: [*grid, d]."""
    marker: jax.Array
    """In cell centres: [*grid]."""


def advance(flow: Flow) -> Flow:
    """Return the state one time step later.

    The velocity is advected by itself, projected to zero divergence, and rescaled to its mean
    energy before; the marker is then moved by this new velocity. Both use MacCormack advection.

    Source: arXiv 2109.15048, section 3.5, whose program projects by conjugate gradients.
    """
    velocity, _ = project(advect_velocity(flow.velocity))
    velocity = velocity * _ratio(jnp.mean(flow.velocity**2), jnp.mean(velocity**2)) ** 0.5
    return Flow(velocity, maccormack(flow.marker, velocity_at_centres(velocity)))


def _ratio(energy: jax.Array, reduced: jax.Array) -> jax.Array:
    """Return energy / reduced, and 1 for a fluid at rest, where a root has no derivative."""
    moving = (energy > 0) & (reduced > 0)
    return jnp.where(moving, energy, 1) / jnp.where(moving, reduced, 1)


def rollout(start: Flow, steps: int) -> Flow:
    """Return the states at the times 0 ... steps, leaves [steps + 1, ...]."""

    def step(flow: Flow, _: None) -> tuple[Flow, Flow]:
        flow = advance(flow)
        return flow, flow

    _, later = jax.lax.scan(step, start, None, steps)
    return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, later)
