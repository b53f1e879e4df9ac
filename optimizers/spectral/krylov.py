"""The Krylov method: the direction V S^kappa U^T g from products with J and J^T only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from physopt.numerics.linalg import HIGHEST, GramPower
from physopt.objective import Linearised
from physopt.optimizers.spectral.directions import (
    Power,
    Solution,
    decompose,
    precise_product,
    quotient,
    solution_of,
    weak_part,
)
from physopt.rule import Parameters


def by_krylov(system: Linearised, power: Power, steps: int) -> Solution:
    """Golub-Kahan bidiagonalisation from g: `steps` products with J and J^T each.

    J^T U_m = V_m L^T with L [m, m] lower bidiagonal, so in the space of the first m steps
    V S^kappa U^T g = J^T U_m (L L^T)^((kappa - 1)/2) |g| e_1. It works on J and not on J J^T, whose
    small eigenvalues are lost to rounding. `krylov_change` is the relative change of the direction
    over the last quarter of the steps, an estimate of the truncation error.
    Source: G. Golub, W. Kahan, SIAM J. Numer. Anal. 2, 205 (1965); orthogonalised on one side as in
    H. Simon, H. Zha, SIAM J. Sci. Comput. 21, 2257 (2000).
    """
    push, gradient = system.forward(), system.pull(system.gradient)
    steps = min(steps, system.gradient.size)
    basis, alpha, beta = _bidiagonalise(system, gradient, push, steps)
    lower = jnp.diag(alpha) + jnp.diag(beta[1:], -1)

    def leading(m: int) -> GramPower:
        part = lower[:m, :m]
        start = jnp.zeros(m, alpha.dtype).at[0].set(beta[0])
        return decompose(precise_product(power.dtype, part, part), start, power)

    early = (3 * len(alpha) + 3) // 4
    last, before = leading(len(alpha)), leading(early).coefficients
    difference = last.coefficients.at[:early].add(-before)
    # J^T U_m c = V_m L^T c, and V_m has orthonormal columns.
    size, change = (jnp.linalg.norm(lower.T @ c) for c in (last.coefficients, difference))

    def pull(coefficients: Array) -> Parameters:
        return system.pull(jnp.matmul(coefficients, basis, precision=HIGHEST))

    direction, extra = pull(last.coefficients), {"krylov_change": quotient(change, size)}
    weak = weak_part(precise_product(power.dtype, lower, lower), last, power, pull)
    return solution_of(direction, push(direction), last, gradient, extra, weak)


def _bidiagonalise(
    system: Linearised, gradient: Parameters, push: Callable[..., Array], steps: int
) -> tuple[Array, Array, Array]:
    """Return U [m, n], alpha [m], beta [m]: J^T u_k = alpha_k v_k + beta_k v_(k-1)."""
    g = system.gradient
    norm = jnp.linalg.norm(g)
    u, v = quotient(g, norm), _over_tree(gradient, norm)
    alpha = _noiseless(optax.tree.norm(v), 0 * norm)
    v = _over_tree(v, alpha)

    def step(carry: Any, k: Array) -> tuple[Any, tuple[Array, Array]]:
        u, v, alpha, largest, basis = carry
        response = push(v)
        largest = jnp.maximum(largest, jnp.linalg.norm(response))
        w, beta = _orthogonal(response - alpha * u, basis)  # beta u' = J v - alpha u
        beta = _noiseless(beta, largest)
        u = quotient(w, beta)
        # alpha' v' = J^T u' - beta v
        v = optax.tree.add_scale(system.pull(u), -beta, v)
        after = _noiseless(optax.tree.norm(v), largest)
        return (u, _over_tree(v, after), after, largest, basis.at[k].set(u)), (after, beta)

    basis = jnp.zeros((steps, g.size), g.dtype).at[0].set(u)
    carry, (alphas, betas) = lax.scan(step, (u, v, alpha, alpha, basis), jnp.arange(1, steps))
    return carry[-1], jnp.append(alpha, alphas), jnp.append(norm, betas)


def _orthogonal(w: Array, basis: Array) -> tuple[Array, Array]:
    """Return the part of w [n] orthogonal to the rows of basis [m, n], and its norm.

    The norm is 0 if w lies in their span up to rounding: then a second projection removes much of
    what the first one left. Scaled to a unit vector, such a remainder would not be orthogonal, and
    the basis would grow without bound.
    Source: J. Daniel, W. Gragg, L. Kaufman, G. Stewart, Math. Comp. 30, 772 (1976),
    doi 10.1090/S0025-5718-1976-0431641-8.
    """

    def without(w: Array) -> Array:
        return w - jnp.matmul(jnp.matmul(basis, w, precision=HIGHEST), basis, precision=HIGHEST)

    once = without(w)
    twice = without(once)
    before, norm = jnp.linalg.norm(once), jnp.linalg.norm(twice)
    return twice, jnp.where(norm < before / 2, 0 * norm, norm)


def _over_tree(tree: Any, b: Array) -> Any:
    """Return tree / b, and 0 where b is 0."""
    return jax.tree.map(lambda leaf: quotient(leaf, b.astype(leaf.dtype)), tree)


def _noiseless(value: Array, scale: Array) -> Array:
    """Return 0 in place of rounding: of `scale`, or of squares too small for their type."""
    limits = jnp.finfo(value.dtype)
    noise = jnp.maximum(10 * limits.eps * scale, limits.tiny**0.5 / limits.eps)
    return jnp.where(value > noise, value, 0 * value)
