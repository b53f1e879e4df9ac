"""Step length and damping without options: each batch judges the step before it.

A step fits its own batch better than other samples, so that batch cannot judge it; the next one,
which the step has not seen, can. Let d be the last step, L the loss of the present batch, before
and after it, and s = d . grad L the slope along d after it. The parabola through the three has
its minimum at the multiple

    t = (s - 2 D) / (2 (s - D)),  D = L_after - L_before,

of d. The length of steps is multiplied by t^(1/4) at each update, with t limited to [4/5, 2]. The
limits are not symmetric because the best multiple for the next batch is too short for those after
it: the noise of single batches lies in the steep directions and hides the slow progress along the
flat ones (short-horizon bias, arXiv 1803.02021).

The damping follows in the same way. With the singular values s of J and a damping m relative to the
largest, d has a part in each direction; the fraction m^2 / (m^2 + s^2) of it is the weak part, in
directions that hardly change the outputs. If the next batch would have liked the weak part longer,
t > 1, the damping falls as t^(-1/4), otherwise it rises. It also rises where a step has to be
shortened to lower the loss of its own batch: that step left the range of the linear model.
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

FIRST_LENGTH = 0.25
"""First length in natural units, in which 1 is the full step along the largest singular value."""

FIRST_DAMPING = 0.03
"""First damping, relative to the largest singular value."""

LEAST_DAMPING, MOST_DAMPING = 1e-6, 1.0
"""Range of an adapted damping. Smaller singular values are rounding in float32."""

LEAST_LENGTH = 0.02
"""Least length. The next batch judges one step ahead: where the batches differ more than a step
gains it shortens steps without end, down to those of which rounding hides the effect. A step that
raises the loss of its own batch is halved all the same."""

SHORTEST, LONGEST = 0.8, 2.0
"""Limits of t. With 1/2 for 4/5 half-inverse gradients end at 1.2e-4 instead of 3e-6 on
`oscillators` (2,500 updates), and at 16.1 instead of 11.5 % on `ldft2d` (250 updates): the damping
rises to 1 instead of falling."""

RATE = 0.25
"""Exponent of t; four batches that agree change the length by t."""

HALVINGS = 10
"""Most times that a step is halved while it raises the loss of its own batch."""


class Pace(NamedTuple):
    """State of an adapted length."""

    length: Array  # of the next step, in natural units
    last: Parameters  # the last step
    weak: Parameters | tuple[()] = ()  # its weak part, if the damping is adapted


def first_pace(params: Parameters, momentum: float, *, damped: bool) -> Pace:
    """Return the pace before the first update; momentum lengthens steps by 1 / (1 - momentum)."""
    dtype = jnp.result_type(*jax.tree.leaves(params))
    still = optax.tree.zeros_like(params)
    length = jnp.asarray(FIRST_LENGTH * (1 - momentum), dtype)
    return Pace(length, still, still if damped else ())


def best_multiple(
    objective: Objective,
    system: Linearised,
    gradient: Parameters,
    batch: Batch,
    step: Parameters,
    factor: Array,
) -> Array:
    """Return the multiple t of the last step, or of a part of it, that suits this batch best.

    gradient: dL/dtheta. factor: that of the schedule, which shortened the step; t is relative to
    the step without it.
    1 if the step is zero, SHORTEST if it is not finite.
    """
    before = objective.trial(optax.tree.add_scale(system.params, -1.0, step), batch)
    slope = jnp.asarray(optax.tree.vdot(gradient, step))
    change = system.loss - before
    curvature = 2 * (slope - change)
    # A parabola without a minimum: the loss falls along d, or rises.
    beyond = jnp.where(slope < 0, LONGEST, SHORTEST)
    minimum = (slope - 2 * change) / jnp.where(curvature > 0, curvature, 1)
    t = factor * jnp.where(curvature > 0, minimum, beyond)
    t = jnp.clip(jnp.where(jnp.isfinite(t), t, SHORTEST), SHORTEST, LONGEST)
    return jnp.where(optax.tree.norm(step) == 0, 1, t)


def adapted_length(length: Array, t: Array) -> Array:
    """Return the length after the last step was judged."""
    return length * t.astype(length.dtype) ** RATE


def adapted_damping(damping: Array, t: Array) -> Array:
    """Return the damping after the weak part of the last step was judged."""
    return jnp.clip(damping * t.astype(damping.dtype) ** -RATE, LEAST_DAMPING, MOST_DAMPING)


def shortened(length: Array, damping: Array, share: Array) -> tuple[Array, Array]:
    """Return length and damping after a step of which only a share lowers the loss of its batch."""
    share = jnp.maximum(share, 0.25).astype(length.dtype)
    return jnp.maximum(length * share, LEAST_LENGTH), adapted_damping(damping, share**2)


def halved(loss_at: Callable[[Array], Array], loss: Array) -> tuple[Array, Array]:
    """Return the first of 1, 1/2, 1/4, ... at which the loss does not rise beyond rounding, 0 if
    there is none, and the number of losses evaluated.
    """
    highest = loss + jnp.finfo(loss.dtype).eps * jnp.abs(loss)

    def unfinished(trial: tuple[Array, Array, Array]) -> Array:
        _, value, tried = trial
        return ~(value <= highest) & (tried <= HALVINGS)

    def shorter(trial: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        share, _, tried = trial
        return share / 2, loss_at(share / 2), tried + 1

    one = jnp.ones_like(loss)
    share, value, tried = jax.lax.while_loop(unfinished, shorter, (one, loss_at(one), jnp.int32(1)))
    return jnp.where(value <= highest, share, 0), tried
