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


class State(NamedTuple):
    """Iterate, residual b - A x, search direction, squared residual and number of iterations."""

    x: jax.Array
    residual: jax.Array
    direction: jax.Array
    squared: jax.Array
    iterations: jax.Array


def conjugate_gradient(
    operator: Operator, b: jax.Array, start: jax.Array, limit: jax.Array | float, most: int
) -> State:
    """Iterate until no entry of the residual exceeds `limit`, or `most` times.

    b must lie in the range of a singular operator. x is NaN where b is. Not differentiable in
    reverse mode.
    """

    def is_running(state: State) -> jax.Array:
        return (jnp.max(jnp.abs(state.residual)) > limit) & (state.iterations < most)

    state = lax.while_loop(is_running, partial(_step, operator), _start(operator, b, start))
    # The comparison with NaN ends the loop at once.
    return state._replace(x=jnp.where(jnp.isnan(state.squared), jnp.nan, state.x))


def iterated(operator: Operator, b: jax.Array, start: jax.Array, count: int) -> jax.Array:
    """Return x after `count` iterations, differentiable in b and in the start.

    x depends on the start nonlinearly, through the lengths and directions of the steps.
    """
    return _history(operator, b, start, count)[0].x


def largest_residuals(operator: Operator, b: jax.Array, start: jax.Array, count: int) -> jax.Array:
    """Return max |b - A x| before and after each of `count` iterations, [count + 1]."""
    return _history(operator, b, start, count)[1]


def _history(
    operator: Operator, b: jax.Array, start: jax.Array, count: int
) -> tuple[State, jax.Array]:
    """Return the last state and the largest residual of every one."""

    def step(state: State, _: None) -> tuple[State, jax.Array]:
        state = _step(operator, state)
        return state, jnp.max(jnp.abs(state.residual))

    first = _start(operator, b, start)
    last, largest = lax.scan(step, first, length=count)
    return last, jnp.concatenate([jnp.max(jnp.abs(first.residual))[None], largest])


def _start(operator: Operator, b: jax.Array, start: jax.Array) -> State:
    residual = b - operator(start)
    return State(start, residual, residual, jnp.sum(residual**2), jnp.int32(0))


def _step(operator: Operator, state: State) -> State:
    applied = operator(state.direction)
    length = _ratio(state.squared, jnp.sum(state.direction * applied))
    residual = state.residual - length * applied
    squared = jnp.sum(residual**2)
    direction = residual + _ratio(squared, state.squared) * state.direction
    return State(
        state.x + length * state.direction, residual, direction, squared, state.iterations + 1
    )


def _ratio(above: jax.Array, below: jax.Array) -> jax.Array:
    """Return above / below, and 0 where below is 0: an exact solution stays."""
    is_positive = below > 0
    return jnp.where(is_positive, above / jnp.where(is_positive, below, 1), 0)
