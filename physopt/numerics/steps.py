"""Backtracking: shorten a step where the physics bends away from the model that made it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any  # a pytree of arrays


def shortened(
    x: Tree, step: Tree, loss: Callable[[Tree], jax.Array], lengths: Sequence[float]
) -> Tree:
    """Return x + length * step with each sample's best length, leaves [batch, ...].

    loss gives one number per sample, [batch]. A length whose loss is not a number is never chosen
    before one whose loss is.
    """

    def moved(length: jax.Array) -> Tree:
        """Move by one length for all samples, [], or by one each, [batch]."""

        def move(a: jax.Array, s: jax.Array) -> jax.Array:
            shape = (*length.shape, *(1,) * (a.ndim - 1)) if length.ndim else ()
            return a + length.reshape(shape).astype(a.dtype) * s

        return jax.tree.map(move, x, step)

    def trial(length: jax.Array) -> jax.Array:
        values = loss(moved(length))
        return jnp.where(jnp.isnan(values), jnp.inf, values)

    tried = jnp.asarray(lengths)
    return moved(tried[jnp.argmin(jax.vmap(trial)(tried), axis=0)])
