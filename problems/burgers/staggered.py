"""Staggered hierarchical predictor-corrector: predict the centre, then those of the halves."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.unet import UNet
from physopt.problems.burgers.scheme import advance

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
            frames = self._halved(inputs)
            return frames[:, 1:] - advance(inputs[:, :-1], self.viscosity)
        frames = self._frames(inputs[..., 0], inputs[..., 1])
        return frames[:, 1:] - advance(frames[:, :-1], self.viscosity)

    def _frames(self, start: jax.Array, wanted: jax.Array) -> jax.Array:
        """Return all states, from the first to the last: [batch, steps + 1, n]."""
        return self._halved(jnp.stack([start, wanted], axis=1))

    def _halved(self, known: jax.Array) -> jax.Array:
        """Predict centres down to single steps, between true states if they are known.

        known [batch, 2 or steps + 1, n], the ends or all true states -> [batch, steps + 1, n].
        """
        frames = jnp.stack([known[:, 0], known[:, -1]], axis=1)
        for k, network in reversed(list(enumerate(self.predictors))):
            seen = known[:, :: 2 ** (k + 1)] if self.taught else frames
            centres = centre(network, seen[:, :-1], seen[:, 1:])
            pairs = jnp.stack([frames[:, :-1], centres], axis=2)
            halves = pairs.reshape(frames.shape[0], -1, frames.shape[-1])
            frames = jnp.concatenate([halves, frames[:, -1:]], axis=1)
        return frames


def centre(network: UNet, left: jax.Array, right: jax.Array) -> jax.Array:
    """Predict the field half-way between two fields: [..., n], [..., n] -> [..., n]."""
    flat = (a.reshape(-1, a.shape[-1]) for a in (left, right))
    change = network(jnp.stack(list(flat), axis=-1))[..., 0]
    return (left + right) / 2 + change.reshape(left.shape)
