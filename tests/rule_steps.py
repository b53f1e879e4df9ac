"""Steps of a first-order rule on a loss of its parameters alone, without a problem or a network."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Trajectory(NamedTuple):
    """The last parameters and state, and what belongs to each of the steps, stacked."""

    params: Any
    state: Any
    iterates: Any  # the parameters after each step
    losses: jax.Array  # before each step
    slopes: jax.Array  # <step, gradient>: negative where a step descends


def trajectory(rule, loss, params, steps) -> Trajectory:
    """Make steps of a rule at its own schedule; the objective, batch and key are not used."""
    unused: Any = None

    def step(carry, index):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        progress = jnp.full((1,), index / steps)
        updates, state = rule.step(gradient, state, params, progress, value, loss)
        params = optax.apply_updates(params, updates)
        return (params, state), (params, value, optax.tree.vdot(updates, gradient))

    def run(params):
        begin = (params, rule.init(unused, params, unused))
        return jax.lax.scan(step, begin, jnp.arange(steps))

    (params, state), each = jax.jit(run)(params)
    return Trajectory(params, state, *each)
