"""Jacobians of batches of independent samples."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array


def pulled_rows(pull: Callable[[Array], Array], y: Array) -> Array:
    """Return dy/dx [batch, |y|, *x] from y [batch, |y|] and its pullback dL/dy -> dL/dx.

    It costs one pullback of the whole batch per component of y, because samples are independent.
    """

    def row(cotangent: Array) -> Array:
        return pull(jnp.broadcast_to(cotangent, y.shape))

    return jax.vmap(row, out_axes=1)(jnp.eye(y.shape[1], dtype=y.dtype))


def pushed_columns(function: Callable[[Array], Array], x: Array) -> tuple[Array, Array]:
    """Return y = function(x) [batch, |y|] and dy/dx [batch, |y|, |x|] for x [batch, |x|].

    It costs one forward derivative of the whole batch per component of x.
    """

    def column(tangent: Array) -> tuple[Array, Array]:
        return jax.jvp(function, (x,), (jnp.broadcast_to(tangent, x.shape),))

    return jax.vmap(column, out_axes=(None, 2))(jnp.eye(x.shape[1], dtype=x.dtype))
