"""A linear physics of known condition, with noise and an exact inverse, and a linear network."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt import Batch, Problem
from physopt.networks import Dense
from physopt.options import NonNegativeFloat, PositiveInt


@dataclasses.dataclass(frozen=True)
class Linear(Problem):
    """y = S x with singular values of S from 1 to 10^-decades in random directions.

    The network is linear, so that the loss is a quadratic function of its parameters whose Hessian
    has the condition 10^(2 decades). Targets have noise; the error is that to the noiseless x.
    """

    size: PositiveInt = 4
    decades: NonNegativeFloat = 0.0
    noise: NonNegativeFloat = 0.0
    broken_inverse: bool = False

    target: ClassVar = ("error", 1e-6)
    defaults: ClassVar = {"batch_size": 8, "heldout_size": 16}

    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """Return S and its inverse [size, size]."""
        rng = np.random.default_rng(0)
        left, right = (np.linalg.qr(rng.normal(size=(self.size, self.size)))[0] for _ in range(2))
        values = np.logspace(0, -self.decades, self.size)
        return (left * values) @ right, (right.T / values) @ left.T

    def sample(self, keys: jax.Array) -> Batch:
        pairs = jax.vmap(lambda key: jax.random.normal(key, (2, self.size)))(keys)
        x, noise = pairs[:, 0], pairs[:, 1]
        return Batch(x, self.simulate(x, None) + self.noise * noise, x)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        return Dense((self.size, self.size), rngs)

    def simulate(self, x: jax.Array, batch: Batch | None) -> jax.Array:
        return x @ jnp.asarray(self.matrices()[0].T, x.dtype)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        if self.broken_inverse:
            raise ValueError("this solver is of no use")
        return batch.target @ jnp.asarray(self.matrices()[1].T, x.dtype)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        return {"error": jnp.linalg.norm(x - batch.extra, axis=-1)}
