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
