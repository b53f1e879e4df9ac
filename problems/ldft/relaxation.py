"""Relaxation: from the pre-activation x of a matrix to pore fractions eta in [0, 1].

A matrix of pores is binary, which has no gradient. Each relaxation gives one; errors are reported
on the rounded matrix whichever was trained with.
"""

from typing import Literal

import jax
import jax.numpy as jnp

Relaxation = Literal["annealed", "straight_through", "relaxed"]

SHARPEST = 8.0
ROUNDED_FROM = 0.6


def relax(x: jax.Array, progress: jax.Array, relaxation: Relaxation) -> jax.Array:
    """Return eta of x [batch, ...] at a progress [batch] in [0, 1].

    annealed: sigmoid(x 8^min(1, 3/2 t)), from t = 0.6 on rounded with a straight-through gradient.
    straight_through: h = clip((x + 1) / 2, 0, 1), always rounded, with the derivative of h (H. Liu
    et al., npj Computational Materials 9, 121 (2023)). relaxed: sigmoid(x).
    """
    if relaxation == "straight_through":
        return _rounded(jnp.clip((x + 1) / 2, 0, 1))
    if relaxation == "relaxed":
        return jax.nn.sigmoid(x)
    t = progress.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
    soft = jax.nn.sigmoid(x * SHARPEST ** jnp.minimum(1, 1.5 * t))
    return jnp.where(t >= ROUNDED_FROM, _rounded(soft), soft)


def binary(x: jax.Array) -> jax.Array:
    """Return the rounded matrix, without a gradient; what is not a number stays so."""
    return jnp.where(jnp.isnan(x), jnp.nan, jnp.where(x > 0, 1.0, 0.0)).astype(x.dtype)


def _rounded(soft: jax.Array) -> jax.Array:
    """Round, with the derivative of not having rounded."""
    return soft + jax.lax.stop_gradient(jnp.where(soft > 0.5, 1.0, 0.0).astype(soft.dtype) - soft)
