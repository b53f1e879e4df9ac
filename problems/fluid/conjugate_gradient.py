"""Conjugate gradients for a symmetric positive semidefinite operator, one sample at a time.

Source: M. R. Hestenes, E. Stiefel, J. Res. Natl. Bur. Stand. 49, 409 (1952),
doi 10.6028/jres.049.044.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Operator = Callable[[jax.Array], jax.Array]


def _unchanged(x: jax.Array) -> jax.Array:
    return x


class System(NamedTuple):
    """The equations A x = b."""

    operator: Operator
    """x -> A x, symmetric and positive semidefinite."""
    b: jax.Array
    """In the range of A."""
    in_range: Operator = _unchanged
    """Projection to the range of a singular A. The residual loses the rounding errors outside it,
    along which the steps would otherwise grow without bound."""


class State(NamedTuple):
    """Iterate, residual b - A x, search direction, squared residual and number of iterations."""

    x: jax.Array
    residual: jax.Array
    direction: jax.Array
    squared: jax.Array
    iterations: jax.Array


def conjugate_gradient(
    system: System, start: jax.Array, limit: jax.Array | float, most: int
) -> State:
    """Iterate until no entry of the residual exceeds `limit`, or `most` times.

    x is NaN if b has a NaN. Not differentiable in reverse mode.
    """

    def is_running(state: State) -> jax.Array:
        return (jnp.max(jnp.abs(state.residual)) > limit) & (state.iterations < most)

    state = lax.while_loop(is_running, partial(_step, system), _start(system, start))
    # The comparison with NaN ends the loop at once.
    return state._replace(x=jnp.where(jnp.isnan(state.squared), jnp.nan, state.x))


def iterated(system: System, start: jax.Array, count: int) -> jax.Array:
    """Return x after `count` iterations, differentiable in b and in the start.

    x depends on the start nonlinearly, through the lengths and directions of the steps.
    """
    return _history(system, start, count)[0].x


def largest_residuals(system: System, start: jax.Array, count: int) -> jax.Array:
    """Return max |b - A x| before and after each of `count` iterations, [count + 1]."""
    return _history(system, start, count)[1]


def _history(system: System, start: jax.Array, count: int) -> tuple[State, jax.Array]:
    """Return the last state and the largest residual of every one."""

    def step(state: State, _: None) -> tuple[State, jax.Array]:
        state = _step(system, state)
        return state, jnp.max(jnp.abs(state.residual))

    first = _start(system, start)
    last, largest = lax.scan(step, first, length=count)
    return last, jnp.concatenate([jnp.max(jnp.abs(first.residual))[None], largest])


def _start(system: System, start: jax.Array) -> State:
    residual = system.in_range(system.b - system.operator(start))
    return State(start, residual, residual, jnp.sum(residual**2), jnp.int32(0))


def _step(system: System, state: State) -> State:
    applied = system.operator(state.direction)
    length = _ratio(state.squared, jnp.sum(state.direction * applied))
    residual = system.in_range(state.residual - length * applied)
    squared = jnp.sum(residual**2)
    direction = residual + _ratio(squared, state.squared) * state.direction
    return State(
        state.x + length * state.direction, residual, direction, squared, state.iterations + 1
    )


def _ratio(above: jax.Array, below: jax.Array) -> jax.Array:
    """Return above / below, and 0 where below is 0: an exact solution stays."""
    is_positive = below > 0
    return jnp.where(is_positive, above / jnp.where(is_positive, below, 1), 0)
