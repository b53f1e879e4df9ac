"""Step lengths without a learning rate: each batch judges the step before it.

A step fits its own batch better than others, so that batch cannot tell how long it should be; the
next one, which the step has not seen, can. Let d be the last step, L the loss of the present batch,
before and after it, and s = d . grad L the slope along d after it. The parabola through the three
has the slope 2 (L_after - L_before) - s before the step, and its minimum at the multiple

    t = (s - 2 D) / (2 (s - D)),  D = L_after - L_before,

of d. The length of steps is multiplied by t^(1/4) at each update, with t limited to [1/2, 2].
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from physopt.objective import Linearised, Objective
from physopt.problem import Batch
from physopt.rule import Parameters

FIRST = 0.25
"""First length in natural units, in which 1 is the full step along the largest singular value."""

RATE = 0.25
"""Exponent of t; four batches that agree change the length by t."""

HALVINGS = 10
"""Most times that a step is halved until it lowers the loss of its own batch."""


class Pace(NamedTuple):
    """State of an adapted length."""

    length: Array  # of the next step, in natural units
    last: Parameters  # the last step


def first_pace(params: Parameters, momentum: float) -> Pace:
    """Return the pace before the first update; momentum lengthens steps by 1 / (1 - momentum)."""
    dtype = jnp.result_type(*jax.tree.leaves(params))
    return Pace(jnp.asarray(FIRST * (1 - momentum), dtype), optax.tree.zeros_like(params))


def adapted_length(
    objective: Objective, system: Linearised, batch: Batch, pace: Pace, factor: Array
) -> Array:
    """Return the length after the last step was judged by this batch.

    factor: that of the schedule, which shortened the last step.
    """
    before = objective.trial(optax.tree.add_scale(system.params, -1.0, pace.last), batch)
    slope = jnp.asarray(optax.tree.vdot(system.pull(system.gradient), pace.last))
    change = system.loss - before
    curvature = 2 * (slope - change)
    # A parabola without a minimum: the loss falls along d, or rises.
    beyond = jnp.where(slope < 0, 2.0, 0.5)
    minimum = (slope - 2 * change) / jnp.where(curvature > 0, curvature, 1)
    t = factor * jnp.where(curvature > 0, minimum, beyond)
    t = jnp.clip(jnp.where(jnp.isfinite(t), t, 0.5), 0.5, 2.0)
    moved = optax.tree.norm(pace.last) > 0
    return jnp.where(moved, pace.length * t.astype(pace.length.dtype) ** RATE, pace.length)


def halved(loss_at: Callable[[Array], Array], loss: Array) -> tuple[Array, Array]:
    """Return the first of 1, 1/2, 1/4, ... with loss_at < loss, 0 if there is none, and the number
    of losses evaluated.
    """

    def unfinished(trial: tuple[Array, Array, Array]) -> Array:
        _, value, tried = trial
        return ~(value < loss) & (tried <= HALVINGS)

    def shorter(trial: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        share, _, tried = trial
        return share / 2, loss_at(share / 2), tried + 1

    one = jnp.ones_like(loss)
    share, value, tried = jax.lax.while_loop(unfinished, shorter, (one, loss_at(one), jnp.int32(1)))
    return jnp.where(value < loss, share, 0), tried
