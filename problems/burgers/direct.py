"""Direct network: all forces in one evaluation."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize

if TYPE_CHECKING:
    from physopt.problems.burgers.scenes import Scenes


class DirectForce(nnx.Module):
    """Dense network, initial and target field [batch, n, 2] -> forces [batch, steps, n].

    If taught, it takes both fields from a trajectory [batch, steps + 1, n].
    """

    def __init__(self, scenes: "Scenes", rngs: nnx.Rngs):
        sizes = (2 * scenes.cells, *scenes.hidden, scenes.steps * scenes.cells)
        self.dense = initialize(Dense(sizes, rngs, activation="relu"), rngs, "torch")
        self.steps, self.taught = scenes.steps, scenes.taught

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        if self.taught:
            inputs = jnp.stack([inputs[:, 0], inputs[:, -1]], axis=-1)
        changes = self.dense(inputs.reshape(inputs.shape[0], -1))
        return changes.reshape(inputs.shape[0], self.steps, -1) / self.steps
