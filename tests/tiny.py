"""A linear physics and rules that misbehave, for tests; also a plug-in given as file.py:Class."""

import dataclasses
import time
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt import Batch, Objective, Problem, UpdateRule, cost
from physopt.networks import Dense, Normalization
from physopt.options import NonNegativeFloat, PositiveInt
from physopt.rule import State


@dataclasses.dataclass(frozen=True)
class Tiny(Problem):
    """y = s x with scales s from 1 to 0.1; the inputs are the targets."""

    size: PositiveInt = 3
    normalization: Normalization = "none"

    target: ClassVar = ("error", 0.05)
    defaults: ClassVar = {
        "batch_size": 4, "steps": 20, "log_every": 5, "heldout_size": 8,
        "figures": False,  # drawing takes longer than such a run
    }  # fmt: skip

    def scales(self, dtype: jnp.dtype) -> jax.Array:
        return jnp.asarray(np.logspace(0, -1, self.size), dtype)

    def sample(self, keys: jax.Array) -> Batch:
        target = jax.vmap(lambda key: jax.random.normal(key, (self.size,)))(keys)
        return Batch(target, target)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        return Dense((self.size, 8, self.size), rngs, normalization=self.normalization)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        return x * self.scales(x.dtype)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {"error": jnp.max(jnp.abs(y - batch.target), axis=-1)}


@dataclasses.dataclass(frozen=True)
class Descent(UpdateRule):
    """Plain gradient descent, the simplest rule there is."""

    learning_rate: NonNegativeFloat = 0.1

    def init(self, objective, params, key) -> State:
        return ()

    def update(self, objective: Objective, params, state, batch, key):
        loss, gradient = jax.value_and_grad(objective.value)(params, batch)
        updates = jax.tree.map(lambda g: -self.learning_rate * g, gradient)
        return updates, state, {"loss": loss, **cost(simulate=len(batch), vjp=len(batch))}


@dataclasses.dataclass(frozen=True)
class Sleepy(Descent):
    """Waits on the host in every update."""

    seconds: NonNegativeFloat = 0.05

    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)

        def wait(loss):
            time.sleep(self.seconds)
            return loss

        info["loss"] = jax.pure_callback(wait, info["loss"], info["loss"])
        return updates, state, info


@dataclasses.dataclass(frozen=True)
class Explosive(Descent):
    """Returns NaN after some updates."""

    after: PositiveInt = 7

    def init(self, objective, params, key):
        return jnp.int32(0)

    def update(self, objective, params, state, batch, key):
        updates, _, info = super().update(objective, params, state, batch, key)
        factor = jnp.where(state >= self.after, jnp.nan, 1.0)
        return jax.tree.map(lambda u: factor * u, updates), state + 1, info


@dataclasses.dataclass(frozen=True)
class Broken(Descent):
    """Raises when it is traced."""

    def update(self, objective, params, state, batch, key):
        raise RuntimeError("this rule is broken")


@dataclasses.dataclass(frozen=True)
class Choosy(Descent):
    """Refuses everything."""

    def refuses(self, objective):
        return "it does not like this problem"
