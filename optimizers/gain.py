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

    The model is L + g . v + v . (d^2 L/dy^2) v / 2 for the linearised change v = J step [n] of the
    outputs. 0 if either decrease is not positive: reject the step.
    """
    curvature = objective.output_curvature(system.y, batch, change)
    predicted = -(system.gradient @ change + 0.5 * curvature)
    actual = system.loss - objective.trial(params, batch)
    lower = (actual > 0) & (predicted > 0)
    return jnp.where(lower, actual / jnp.where(lower, predicted, 1), 0)
