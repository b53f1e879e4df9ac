"""State of a spectral rule, and the step that an update may take."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from physopt.objective import Linearised
from physopt.optimizers.spectral.directions import Solution
from physopt.optimizers.spectral.step_length import Pace
from physopt.rule import Parameters


class SpectralState(NamedTuple):
    """State of a spectral rule between updates."""

    velocity: Parameters  # sum of earlier steps, each weighted by momentum^age; () without momentum
    damping: jax.Array  # relative to the largest singular value; only an adaptive rule changes it
    cutoff: jax.Array  # tau; only a line search without a given tau changes it
    plateau: Any  # of the schedule that follows the loss
    rejected: jax.Array  # int32, updates since the last step that was taken
    pace: Pace | tuple[()] = ()  # of adapted steps; () otherwise


class Trial(NamedTuple):
    """A step that may be taken."""

    step: Parameters
    scale: jax.Array  # step = scale * direction
    length: jax.Array | float  # eta
    system: Linearised
    solution: Solution


def network_dtype(params: Parameters) -> Any:
    """Return the floating type of the parameters."""
    return jnp.result_type(*jax.tree.leaves(params))
