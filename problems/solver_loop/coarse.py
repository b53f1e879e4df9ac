"""A coarse solver in a loop, the simulations that it starts from, and the one it should follow."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
from jax import lax

Context = Any
"""What a simulation depends on besides its state, such as forces: a pytree of arrays."""


class Segment(TypedDict):
    """What a corrected simulation starts from, leaves [batch, ...]."""

    state: jax.Array
    """[batch, *grid, 2]"""
    context: Context
    times: jax.Array
    """Before each step, [batch, steps]."""


class Reference(NamedTuple):
    """A fine simulation, restricted to the coarse grid."""

    context: Context
    states: jax.Array
    """[frames + 1, *grid, 2], a time step apart."""
    start: jax.Array
    """Time of the first state, []."""


@dataclasses.dataclass(frozen=True)
class CoarseSolver:
    """A step of a coarse solver for one sample, and how a network sees its result."""

    advance: Callable[[jax.Array, Context, jax.Array], jax.Array]
    """State [*grid, 2], context, time [] -> state [*grid, 2] after a step."""

    features: Callable[[jax.Array, Context, jax.Array], jax.Array]
    """State after a step, context, time [] before it -> network inputs [*grid, channels], of order
    one."""

    channels: int
    """Channels of these inputs."""

    time_step: float

    correction: float
    """Typical size of a correction."""

    padding: str
    """What convolutions assume outside the grid: CIRCULAR or SAME (zeros)."""


def precorrected(run: Reference, solver: CoarseSolver, memory: float) -> Reference:
    """Replace the states by those of a coarse simulation with corrections computed beforehand.

    The correction c_i after each step minimises |d - c|^2 + memory |c - c_{i-1}|^2, where d is the
    distance to the reference: it follows the reference with a delay, and changes slowly.

    Source: arXiv 2007.00016, PRE, whose correction is fitted on the fine grid.
    """

    def step(carry: tuple[jax.Array, jax.Array], at: tuple[jax.Array, jax.Array]):
        (state, correction), (wanted, time) = carry, at
        after = solver.advance(state, run.context, time)
        correction = (wanted - after + memory * correction) / (1 + memory)
        state = after + correction
        return (state, correction), state

    first = run.states[0]
    times = run.start + solver.time_step * jnp.arange(len(run.states) - 1, dtype=first.dtype)
    _, states = lax.scan(step, (first, jnp.zeros_like(first)), (run.states[1:], times))
    return run._replace(states=jnp.concatenate([first[None], states]))
