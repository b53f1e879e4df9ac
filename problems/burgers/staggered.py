"""Staggered hierarchical predictor-corrector: predict the centre, then those of the halves."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.problems.burgers.scheme import advance
from physopt.problems.predictor_corrector import halved

if TYPE_CHECKING:
    from physopt.problems.burgers.scenes import Scenes


class StaggeredPrediction(nnx.Module):
    """Predictors and corrector, initial and target field [batch, n, 2] -> forces [batch, steps, n].

    The predictor of intervals of 2^(k+1) steps, one U-net per k, returns the field half-way between
    two fields as their mean plus a change. The whole interval is halved until the end of every step
    is predicted. The corrector returns the force from a state to the next predicted one,
    F_i = u_{i+1} - advance(u_i). Since a force acts on every cell, each predicted state is reached,
    predictions depend only on reached states, and the predictions for intervals of one length are
    independent. n steps take n - 1 predictions.

    If taught, the predictors receive the true fields of a trajectory [batch, steps + 1, n]: the
    error of a force is then that of the predicted state at its end.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457, sections 4 and 5; its networks have
    other layers.
    """

    def __init__(self, scenes: "Scenes", rngs: nnx.Rngs):
        count = scenes.steps.bit_length() - 1
        self.predictors = nnx.List([scenes.unet(2, 1, rngs, dimensions=1) for _ in range(count)])
        self.steps, self.viscosity = scenes.steps, scenes.viscosity
        self.taught = scenes.taught

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Predict the states, and return the forces that lead to them."""
        if self.taught:
            return self._towards(inputs[:, :-1], halved(self.predictors, inputs)[:, 1:])
        return self._forces(jnp.moveaxis(inputs, -1, 1))

    def _forces(self, ends: jax.Array) -> jax.Array:
        """Return the forces between the ends [batch, 2, n]: [batch, steps, n]."""
        frames = halved(self.predictors, ends)
        return self._towards(frames[:, :-1], frames[:, 1:])

    def _towards(self, u: jax.Array, wanted: jax.Array) -> jax.Array:
        """Return the force that leads from a state to the wanted next one."""
        return wanted - advance(u, self.viscosity)
