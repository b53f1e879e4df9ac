"""A loss of two quadratic terms in a vector w that all samples share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt import Batch, Problem
from physopt.objective import build

SIZE = 6


class Shared(nnx.Module):
    """x = w for every sample."""

    def __init__(self, rngs: nnx.Rngs):
        self.w = nnx.Param(jax.random.normal(rngs.params(), (SIZE,)))

    def __call__(self, inputs):
        return jnp.broadcast_to(self.w[...], (len(inputs), SIZE))


@dataclasses.dataclass(frozen=True)
class TwoTerms(Problem):
    """y = a . w; samples of kind 1 have other a, and are much heavier."""

    weight: float = 10.0

    def terms(self):
        return ("interior", "boundary")

    def sample(self, keys):
        draws = jax.vmap(lambda key: jax.random.normal(key, (SIZE + 2,)))(keys)
        kind = (draws[:, -1] > 0.5).astype(jnp.int32)
        return Batch(draws[:, :SIZE], draws[:, SIZE:-1], kind=kind)

    def network(self, rngs):
        return Shared(rngs)

    def simulate(self, x, batch):
        residual = jnp.sum(batch.inputs * x, axis=1, keepdims=True)
        return jnp.where(batch.kind[:, None] == 1, self.weight * residual, residual)


def two_terms(size=24):
    """Return objective, parameters and a batch."""
    problem = TwoTerms()
    batch = problem.sample(jax.random.split(jax.random.key(1), size)).at(0.0)
    return *build(problem, "default", 0), batch


def parts(problem, batch, w):
    """Return the losses and gradients of both terms in NumPy."""
    a, target, kind = (np.asarray(v) for v in (batch.inputs, batch.target[:, 0], batch.kind))
    a = np.where(kind[:, None] == 1, problem.weight * a, a)
    residual = a @ w - target
    masks = [kind == k for k in (0, 1)]
    losses = [0.5 * np.sum(residual[m] ** 2) / len(a) for m in masks]
    return losses, [a[m].T @ residual[m] / len(a) for m in masks]
