"""Gain ratio: how much of the decrease that a quadratic model predicts a trial step achieves."""

import jax
import jax.numpy as jnp

from physopt.objective import Linearised, Objective
from physopt.problem import Batch
from physopt.rule import Parameters


def gain_ratio(
    objective: Objective, system: Linearised, batch: Batch, params: Parameters, change: jax.Array
) -> jax.Array:
    """Return rho, the decrease of the loss at trial parameters over that of its quadratic model.

    0 if either decrease is not positive: reject the step.
    """
    return ratio_of_decreases(*decreases(objective, system, batch, params, change))


def decreases(
    objective: Objective, system: Linearised, batch: Batch, params: Parameters, change: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the decrease of the loss at trial parameters and that of its quadratic model.

    The model is L + g . v + v . (d^2 L/dy^2) v / 2 for the linearised change v = J step [n] of the
    outputs.
    """
    curvature = objective.output_curvature(system.y, batch, change)
    predicted = -(system.gradient @ change + 0.5 * curvature)
    return system.loss - objective.trial(params, batch), predicted


def ratio_of_decreases(actual: jax.Array, predicted: jax.Array) -> jax.Array:
    """Return actual / predicted, 0 if either is not positive."""
    lower = (actual > 0) & (predicted > 0)
    return jnp.where(lower, actual / jnp.where(lower, predicted, 1), 0)
