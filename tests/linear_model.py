"""One sample whose unknowns are the parameters: y = f(M x), for tests of closed forms."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from physopt import Batch, Problem
from physopt.training.per_sample import build_unknowns

KEY = jax.random.key(0)


@jax.custom_vjp
def reverse_only(y):
    return y


reverse_only.defvjp(lambda y: (y, None), lambda _, cotangent: (cotangent,))


@jax.custom_vjp
def on_the_host(y):
    return jax.pure_callback(np.asarray, y, y, vmap_method="expand_dims")


on_the_host.defvjp(
    lambda y: (on_the_host(y), y),
    lambda y, c: (
        jax.pure_callback(lambda y, c: np.asarray(c), y, y, c, vmap_method="expand_dims"),
    ),
)

FUNCTIONS: dict[str, Any] = {
    "linear": lambda y: y,
    "bent": lambda y: y + 0.1 * y**3,
    "sine": jnp.sin,
    "root": lambda y: jnp.sqrt(1 - y),  # NaN for y > 1
    "reverse_only": reverse_only,
    "callback": on_the_host,
}


@dataclasses.dataclass(frozen=True)
class Model(Problem):
    """y = f(M x) with the target y*; extra holds M [m, P]."""

    function: str = "linear"

    def sample(self, keys):
        raise NotImplementedError

    def simulate(self, x, batch):
        y = jnp.einsum("bmp,bp->bm", batch.extra, x, precision="highest")
        return FUNCTIONS[self.function](y)


def case(matrix, target, start, function="linear"):
    """Return objective, parameters and a batch of one sample; all arrays have its type."""
    arrays = (jnp.asarray(v)[None] for v in (start, target, matrix))
    batch = Batch(*arrays).at(0.0)
    return *build_unknowns(Model(function), batch.inputs), batch


def iterate(rule, objective, params, batch, updates):
    """Return the parameters [updates + 1, P], the last state, and the infos."""
    update = jax.jit(rule.update)
    state, iterates, infos = rule.init(objective, params, KEY), [params], []
    for index in range(updates):
        key = jax.random.fold_in(KEY, index)
        step, state, info = update(objective, iterates[-1], state, batch, key)
        iterates.append(optax.apply_updates(iterates[-1], step))
        infos.append(info)
    return np.array([jax.tree.leaves(p)[0][0] for p in iterates]), state, infos


def random(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape)
