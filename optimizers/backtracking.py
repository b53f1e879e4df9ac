"""Backtracking line search on the loss of a batch."""

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax


def first_length(
    loss: Callable[[Array], Array],
    before: Array,
    decrease: Array,
    *,
    share: float,
    factor: float,
    trials: int,
) -> tuple[Array, Array]:
    """Return the first t of 1, factor, factor^2, ... that lowers the loss enough, and the trials.

    Enough is loss(t) < before and loss(t) <= before - t share decrease (Armijo's condition); t is
    0 if none of `trials` lengths does. decrease: that of the linear model at t = 1.
    """
    expected = share * jnp.maximum(decrease, 0)

    def shorten(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, tried, _ = carry
        length = jnp.asarray(factor, decrease.dtype) ** tried
        after = loss(length)
        return length, tried + 1, (after < before) & (after <= before - length * expected)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        return (carry[1] < trials) & ~carry[2]

    begin = jnp.ones_like(decrease), jnp.int32(0), jnp.asarray(False)
    length, tried, reached = lax.while_loop(unfinished, shorten, begin)
    return jnp.where(reached, length, 0), tried
