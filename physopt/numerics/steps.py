"""Backtracking: shorten steps of a linear model where the function is not linear."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from physopt.numerics.trials import lost_if_nan

Tree = Any  # a pytree of arrays


def shortened(
    x: Tree, step: Tree, loss: Callable[[Tree], jax.Array], lengths: Sequence[float]
) -> Tree:
    """Return x + length * step with each sample's length of least loss, leaves [batch, ...].

    loss returns one number per sample, [batch]; NaN, of a trial that fails, counts as infinite.
    """

    def moved(length: jax.Array) -> Tree:
        """Return x + length * step, for one length [] or one per sample [batch]."""

        def move(a: jax.Array, s: jax.Array) -> jax.Array:
            shape = (*length.shape, *(1,) * (a.ndim - 1)) if length.ndim else ()
            return a + length.reshape(shape).astype(a.dtype) * s

        return jax.tree.map(move, x, step)

    def trial(length: jax.Array) -> jax.Array:
        return lost_if_nan(loss(moved(length)))

    tried = jnp.asarray(lengths)
    return moved(tried[jnp.argmin(jax.vmap(trial)(tried), axis=0)])
