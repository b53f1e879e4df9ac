"""Hierarchical predictor-corrector with refinement: predictions are updated by reached states."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.problems.burgers.staggered import StaggeredPrediction, centre


class Prediction(NamedTuple):
    """Use of the predictor for intervals of 2^(network + 1) steps; the rest are frame indices."""

    network: int
    left: int
    right: int
    centre: int


class RefinedPrediction(StaggeredPrediction):
    """The predictors of `StaggeredPrediction`, with predictions refined as states are reached.

    After the first half of an interval, its end is predicted again, as the centre between the state
    reached and a field half an interval beyond the end. n steps take 3 n - 2 log2(n) - 3
    sequential predictions.

    Source: algorithm 1 of P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457.
    """

    def _frames(self, start: jax.Array, wanted: jax.Array) -> jax.Array:
        """Return all states, from the first to the last: [batch, steps + 1, n]."""
        graphdef = nnx.split(self.predictors[0])[0]
        states = [nnx.split(network)[1] for network in self.predictors]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

        def predict(frames: jax.Array, use: jax.Array) -> tuple[jax.Array, None]:
            k, left, right, middle = use
            network = nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[k], stacked))
            return frames.at[middle].set(centre(network, frames[left], frames[right])), None

        # One program for all predictions: compiling each separately would take minutes.
        frames = jnp.zeros((self.steps + 1, *start.shape), start.dtype)
        frames = frames.at[0].set(start).at[-1].set(wanted)
        frames, _ = jax.lax.scan(predict, frames, jnp.array(schedule(0, self.steps)))
        return jnp.swapaxes(frames, 0, 1)


def schedule(left: int, steps: int, *, beyond: bool = False) -> list[Prediction]:
    """List the predictions of an interval in order of evaluation.

    `beyond`: the state one interval further, at left + 2 steps, is known.
    """
    if steps == 1:
        return []
    network, half = steps.bit_length() - 2, steps // 2
    middle, right = left + half, left + steps
    uses = [Prediction(network, left, right, middle), *schedule(left, half, beyond=True)]
    if beyond:
        uses += [
            Prediction(network, right, right + steps, right + half),
            Prediction(network, middle, right + half, right),
        ]
    return [*uses, *schedule(middle, half, beyond=beyond)]
