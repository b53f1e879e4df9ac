"""Toy: fit two curves, one of which is scaled down by the physics."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem


@dataclasses.dataclass(frozen=True)
class Toy(Problem):
    """Fit (sin 6c, cos 9c), c uniform in [-1, 1], by y = (x_1, gamma x_2).

    Inputs c [batch, 1]; x, y and y* [batch, 2]. Loss 1/2 |y - y*|^2. For small gamma the second
    component needs large x and has small gradients. x_error is |x - x*| with y(x*) = y*.
    The source trains on 1024 fixed samples: train_size=1024.

    Source: P. Schnell, P. Holl, N. Thuerey, arXiv 2203.10131, section 2.1.
    """

    gamma: PositiveFloat = 0.01
    """Scale of the second component; 1 is well conditioned."""

    hidden: tuple[PositiveInt, ...] = (7,)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("squared_error", 1e-2)
    defaults: ClassVar = {"batch_size": 256, "steps": 6000, "log_every": 200}

    @property
    def scales(self) -> np.ndarray:
        """(1, gamma)."""
        return np.array([1.0, self.gamma])

    def sample(self, keys: jax.Array) -> Batch:
        """Draw positions c [batch, 1] with the curves' values there."""
        c = jax.vmap(lambda key: jax.random.uniform(key, (1,), minval=-1.0))(keys)
        return Batch(inputs=c, target=jnp.concatenate([jnp.sin(6 * c), jnp.cos(9 * c)], axis=-1))

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network [batch, 1] -> [batch, 2]."""
        return initialize(Dense((1, *self.hidden, 2), rngs), rngs, "glorot")

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return (x_1, gamma x_2)."""
        return x * jnp.asarray(self.scales, x.dtype)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the exact solution."""
        return batch.target / jnp.asarray(self.scales, x.dtype)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |y - y*|^2 and |x - x*|."""
        return {
            "squared_error": jnp.sum((y - batch.target) ** 2, axis=-1),
            "x_error": jnp.linalg.norm(x - self.invert(x, batch), axis=-1),
        }
