"""Hierarchical predictor-corrector control: an order of predictions and steps, and its execution.

Observation predictors return the state half-way between two states, one predictor for each length
of an interval; a corrector returns the control of one step towards the next predicted state.
States are [batch, *grid], trajectories [batch, times, *grid].

Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457, sections 4 and 5.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

STEP = -1
"""Stands for the corrector in place of a predictor's number."""

Hidden = Any  # a pytree of arrays: the part of the state that is not observed

Corrector = Callable[[Hidden, jax.Array, jax.Array], tuple[Hidden, jax.Array, jax.Array]]
"""Hidden state, observed state and wanted next state -> hidden state, reached state, control."""


class Action(NamedTuple):
    """Use of the predictor for intervals of 2^(network + 1) steps; the rest are frame indices.

    With network=STEP, a step from the frame `left` towards the frame `right`.
    """

    network: int
    left: int
    right: int
    centre: int


def schedule(left: int, steps: int, *, refined: bool, beyond: bool = False) -> list[Action]:
    """List predictions and steps of an interval in order of evaluation.

    The interval's centre is predicted, and both halves are executed one after the other. If
    refined, the end of an interval is predicted again after its first half, as the centre between
    the reached state and a field half an interval beyond the end: algorithm 1 of the source.
    `beyond`: the state one interval further, at left + 2 steps, is known. n steps take n - 1
    predictions, or 3 n - 2 log2(n) - 3 if refined.
    """
    if steps == 1:
        return [Action(STEP, left, left + 1, left + 1)]
    network, half = steps.bit_length() - 2, steps // 2
    middle, right = left + half, left + steps
    actions = [
        Action(network, left, right, middle),
        *schedule(left, half, refined=refined, beyond=True),
    ]
    if beyond and refined:
        actions += [
            Action(network, right, right + steps, right + half),
            Action(network, middle, right + half, right),
        ]
    return [*actions, *schedule(middle, half, refined=refined, beyond=beyond)]


def predictions(steps: int, *, refined: bool) -> list[Action]:
    """List the predictions of a whole `schedule`, without its steps."""
    return [use for use in schedule(0, steps, refined=refined) if use.network != STEP]


def execute(
    predictors: nnx.List, correct: Corrector, hidden: Hidden, ends: jax.Array, actions: list[Action]
) -> tuple[jax.Array, jax.Array]:
    """Return all states [batch, steps + 1, *grid] and controls [batch, steps, ...].

    ends [batch, 2, *grid] are the first state and the wanted last one. A reached state replaces the
    predicted one, and is what later predictions start from.
    """
    graphdef = nnx.split(predictors[0])[0]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *(nnx.split(p)[1] for p in predictors))
    controls = jax.eval_shape(correct, hidden, ends[:, 0], ends[:, 1])[2]
    idle = jnp.zeros(controls.shape, controls.dtype)

    def act(carry: tuple[Hidden, jax.Array], action: jax.Array):
        k, left, right, middle = action

        def predict(hidden: Hidden, frames: jax.Array):
            network = nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[k], stacked))
            return hidden, frames.at[middle].set(centre(network, frames[left], frames[right])), idle

        def step(hidden: Hidden, frames: jax.Array):
            hidden, reached, control = correct(hidden, frames[left], frames[right])
            return hidden, frames.at[right].set(reached), control

        hidden, frames, control = jax.lax.cond(k == STEP, step, predict, *carry)
        return (hidden, frames), control

    steps = sum(action.network == STEP for action in actions)
    frames = jnp.zeros((steps + 1, *ends[:, 0].shape), ends.dtype)
    frames = frames.at[0].set(ends[:, 0]).at[-1].set(ends[:, 1])
    # One program for all predictions: compiling each separately would take minutes.
    (_, frames), controls = jax.lax.scan(act, (hidden, frames), jnp.array(actions))
    taken = np.array([k for k, action in enumerate(actions) if action.network == STEP])
    return jnp.swapaxes(frames, 0, 1), jnp.swapaxes(controls[taken], 0, 1)


def halved(predictors: Sequence[Any], known: jax.Array) -> jax.Array:
    """Predict centres level by level, down to single steps: [batch, steps + 1, *grid].

    known [batch, 2 or steps + 1, *grid]: between true states if all are known, or else between
    predicted ones, as if each of them were reached.
    """
    frames = jnp.stack([known[:, 0], known[:, -1]], axis=1)
    for k, network in reversed(list(enumerate(predictors))):
        seen = known[:, :: 2 ** (k + 1)] if known.shape[1] > 2 else frames
        centres = over_times(partial(centre, network), seen[:, :-1], seen[:, 1:])
        pairs = jnp.stack([frames[:, :-1], centres], axis=2)
        halves = pairs.reshape(frames.shape[0], -1, *frames.shape[2:])
        frames = jnp.concatenate([halves, frames[:, -1:]], axis=1)
    return frames


def centre(network: Any, left: jax.Array, right: jax.Array) -> jax.Array:
    """Predict the state half-way between two states as their mean plus a change: [batch, *grid]."""
    return (left + right) / 2 + network(jnp.stack([left, right], axis=-1))[..., 0]


def over_times(function: Callable[..., jax.Array], *fields: jax.Array) -> jax.Array:
    """Apply a function of states [batch, ...] to all times of [batch, times, ...] at once."""
    shape = fields[0].shape[:2]
    result = function(*(field.reshape(-1, *field.shape[2:]) for field in fields))
    return result.reshape(*shape, *result.shape[1:])


def along(
    estimate: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
    states: jax.Array,
    wanted: jax.Array,
    times: np.ndarray,
) -> jax.Array:
    """Evaluate a chained estimator on given states [batch, times, *grid] towards one wanted state.

    estimate(state, wanted, time): all [batch, *grid]; times [times] in units of the whole interval.
    """
    target = jnp.broadcast_to(wanted[:, None], states.shape)
    clock = jnp.asarray(times, states.dtype).reshape(-1, *(1,) * (states.ndim - 2))
    return over_times(estimate, states, target, jnp.broadcast_to(clock, states.shape))


def chain(
    correct: Callable[..., tuple[Hidden, jax.Array, jax.Array]],
    hidden: Hidden,
    start: jax.Array,
    wanted: jax.Array,
    times: np.ndarray,
) -> tuple[jax.Array, jax.Array]:
    """Return the last state and the controls [batch, times, ...] of a chain of corrections.

    correct(hidden, state, wanted, time []) is a `Corrector` that knows the time.
    """

    def step(carry: tuple[Hidden, jax.Array], time: jax.Array):
        hidden, reached, control = correct(*carry, wanted, time)
        return (hidden, reached), control

    clock = jnp.asarray(times, start.dtype)
    (_, reached), controls = jax.lax.scan(step, (hidden, start), clock)
    return reached, jnp.swapaxes(controls, 0, 1)
