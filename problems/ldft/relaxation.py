"""Relaxation: from the pre-activation x of a matrix to pore fractions eta in [0, 1].

A porous matrix is binary and has no gradient; each relaxation defines one. Errors are reported for
the rounded matrix, whichever relaxation was used in training.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

Relaxation = Literal["annealed", "straight_through", "relaxed"]

SHARPEST = 8.0
ROUNDED_FROM = 0.6


def relax(
    x: jax.Array,
    progress: jax.Array,
    relaxation: Relaxation,
    slope_sharpness: float = SHARPEST,
) -> jax.Array:
    """Return eta of x [batch, ...] at a progress [batch] in [0, 1].

    annealed: sigmoid(k x) with k = 8^min(1, 3/2 t), rounded from t = 0.6 on, with the derivative of
    sigmoid(min(k, slope_sharpness) x). A slope_sharpness below 8 gives a surrogate derivative that
    does not vanish at large k x (E. Neftci, H. Mostafa, F. Zenke, arXiv 1901.09948).
    straight_through: h = clip((x + 1) / 2, 0, 1), always rounded, with the derivative of h (H. Liu
    et al., npj Computational Materials 9, 121 (2023)). relaxed: sigmoid(x).
    """
    if relaxation == "straight_through":
        h = jnp.clip((x + 1) / 2, 0, 1)
        return _with_derivative_of(h, binary(h - 0.5))
    if relaxation == "relaxed":
        return jax.nn.sigmoid(x)
    t = progress.reshape(-1, *(1,) * (x.ndim - 1)).astype(x.dtype)
    k = SHARPEST ** jnp.minimum(1, 1.5 * t)
    soft = jax.nn.sigmoid(k * x)
    eta = jnp.where(t >= ROUNDED_FROM, binary(soft - 0.5), soft)
    return _with_derivative_of(jax.nn.sigmoid(jnp.minimum(k, slope_sharpness) * x), eta)


def binary(x: jax.Array) -> jax.Array:
    """Return the rounded matrix, without a gradient; NaN propagates."""
    return jnp.where(jnp.isnan(x), jnp.nan, jnp.where(x > 0, 1.0, 0.0)).astype(x.dtype)


def slope_of(relaxed: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """Return d eta/dx [batch, *lattice] of a relaxation x -> eta, which acts site by site."""
    eta, pull = jax.vjp(relaxed, x)
    return pull(jnp.ones_like(eta))[0]  # the diagonal of its Jacobian


def _with_derivative_of(smooth: jax.Array, value: jax.Array) -> jax.Array:
    """Return exactly `value`, with the derivative of `smooth`."""
    stop = jax.lax.stop_gradient
    return stop(value) + (smooth - stop(smooth))
