"""How much damped steps of single samples disturb other samples, and a damping that limits it.

A network that follows the step s_i = -A_i^T (A_i A_i^T + damping I)^-1 r_i of sample i moves other
samples in the same direction, because they share its weights. The conflict is the change of
outputs there over the change at home,

    R = mean over i != j of |A_j s_i|^2 / mean over i of |A_i s_i|^2.

A step of minimum norm uses directions of which each sample has its own: R exceeds 1, and a network
fitted to all steps at once may move away from every target. A large damping keeps the directions
that all samples respond to. Where the samples respond alike, R is 1 for every damping.

On `oscillators` R is 2.4 for a damping of 0.01, with which SIP diverges, and 0.8 for 1, with which
it converges; on `quantum` it is 1 for all, and small dampings are better.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from physopt.numerics.linalg import HIGHEST, damped_solve

DAMPINGS = 1e-2, 1e-1, 1.0, 10.0
"""Dampings to choose from, relative to the mean eigenvalue of A A^T."""

HARMLESS = 1.03
"""Conflict that no damping needs to lower: that of samples that respond alike, and its noise."""

LEEWAY = 1.1
"""Factor over the least conflict that is accepted for a smaller damping."""

SAMPLES = 32
"""Most samples that are compared, which bounds the cost to SAMPLES^2 products with A."""


def agreed_step(jacobian: Array, residual: Array, damping: float | None, dtype: DTypeLike) -> Array:
    """Return A^T (A A^T + damping tr(A A^T)/K I)^-1 r, [batch, N], by default suitably damped."""
    suited = suited_damping(jacobian, residual, dtype) if damping is None else damping
    return damped_solve(jacobian, residual, suited, dtype)


def suited_damping(jacobian: Array, residual: Array, dtype: DTypeLike) -> Array:
    """Return the smallest of DAMPINGS whose conflict is harmless or near the least.

    jacobian: A, [batch, K, N]; residual: r, [batch, K]; dtype: of the solve.
    """
    jacobian, residual = jacobian[:SAMPLES], residual[:SAMPLES]
    dampings = jnp.asarray(DAMPINGS, residual.dtype)
    found = jax.lax.map(partial(conflict, jacobian, residual, dtype=dtype), dampings)
    accepted = found <= jnp.maximum(HARMLESS, LEEWAY * jnp.min(found))
    return dampings[jnp.argmax(accepted)]


def conflict(jacobian: Array, residual: Array, damping: ArrayLike, dtype: DTypeLike) -> Array:
    """Return R for a damping; 0 for a single sample and for steps of zero.

    Pairs with a sample whose physics fails, with NaN in A or r, are left out.
    """
    steps = damped_solve(jacobian, residual, damping, dtype)
    changes = jnp.einsum("jkn,in->ijk", jacobian, steps, precision=HIGHEST)
    squares = jnp.sum(changes**2, axis=2)
    home, known = jnp.eye(len(squares), dtype=bool), jnp.isfinite(squares)
    own, others = (_mean(squares, known & part) for part in (home, ~home))
    return jnp.where(own > 0, others / jnp.where(own > 0, own, 1), 0)


def _mean(values: Array, part: Array) -> Array:
    return jnp.sum(jnp.where(part, values, 0)) / jnp.maximum(jnp.sum(part), 1)
