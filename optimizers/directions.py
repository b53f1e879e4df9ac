"""Ways to the direction V S^kappa U^T g of the spectral-power family.

With J = dy/dtheta = U S V^T [n, P] of all outputs of a batch, n = batch |y|, and g = dL/dy [n],

    V S^kappa U^T g = J^T (J J^T)^((kappa - 1)/2) g = (J^T J)^((kappa - 1)/2) J^T g.

The exact ways decompose one of the two Gram matrices, and differ in how they get it. The Krylov
method is approximate and needs products with J and J^T alone. `methods` chooses among them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from physopt.float64 import evaluated_in
from physopt.layerwise import explicit_gram, jacobian, layerwise_gram
from physopt.linalg import HIGHEST, GramPower, gram_power
from physopt.objective import Objective, flatten
from physopt.problem import Batch
from physopt.rule import Info, Parameters

BLOCK_BYTES = 2**28
"""Explicit rows of J that are differentiated at a time."""


class Power(NamedTuple):
    """Which function of the singular values is wanted; see `physopt.linalg.spectral_power`."""

    kappa: float
    tau: float  # singular values below are dropped
    absolute: bool  # tau is a singular value, not a fraction of the largest
    damping: Array | float  # relative, smooth; takes the place of tau where it is positive
    dtype: str  # of Gram matrices and their decomposition
    steps: int  # of the Krylov method


class System(NamedTuple):
    """The outputs at the current parameters, and their derivative J in the forms there are."""

    loss: Array
    g: Array  # dL/dy [n]; it carries the 1/batch of the mean
    params: Parameters
    samples: Any  # leaves [batch, ...]
    outputs: Callable[[Parameters, Any], Array]  # y of one sample, up to a constant
    values: Callable[[Parameters], Array]  # y [n] of all samples, up to a constant
    pull: Callable[[Array], Parameters]  # c [n] -> J^T c
    curvature: Callable[[Array], Array]  # v [n] -> v^T (d^2 L/dy^2) v


class Solution(NamedTuple):
    """The direction V S^kappa U^T g, and what was seen on the way to it."""

    direction: Parameters
    response: Array  # J direction [n]
    spectrum: GramPower
    gradient_norm: Array
    cosine: Array  # between direction and dL/dtheta
    extra: Info  # further diagnostics


# --- J with and without the physics in it


def through_physics(objective: Objective, params: Parameters, batch: Batch) -> System:
    """Differentiate network and physics together."""
    y, vjp = jax.vjp(lambda p: objective.outputs(p, batch), params)
    loss, g = objective.output_gradient(y, batch)

    def values(params: Parameters) -> Array:
        return flatten(objective.outputs(params, batch)).ravel()

    def outputs(params: Parameters, sample: Batch) -> Array:
        return flatten(objective.outputs(params, _alone(sample)))[0]

    return System(
        loss, flatten(g).ravel(), params, batch, outputs, values,
        lambda c: vjp(_shaped_like(y, c))[0], partial(_curvature, objective, batch, y),
    )  # fmt: skip


def through_slope(objective: Objective, params: Parameters, batch: Batch) -> System:
    """Differentiate the network, and let A = dy/dx stand for the physics: J = A dx/dtheta."""
    x, vjp = jax.vjp(lambda p: flatten(objective.predict(p, batch.inputs)), params)
    unknowns = objective.predict(params, batch.inputs)
    flat, slope = objective.linearize(unknowns, batch)
    y = _shaped_like(jax.eval_shape(objective.problem.simulate, unknowns, batch), flat)
    loss, g = objective.output_gradient(y, batch)

    def values(params: Parameters) -> Array:
        x = flatten(objective.predict(params, batch.inputs))
        return jnp.einsum("bmk,bk->bm", slope, x, precision=HIGHEST).ravel()

    def outputs(params: Parameters, sample: Any) -> Array:
        inputs, slope = sample
        x = flatten(objective.predict(params, _alone(inputs)))[0]
        return jnp.matmul(slope, x, precision=HIGHEST)

    def pull(c: Array) -> Parameters:
        c = c.reshape(slope.shape[:2])
        return vjp(jnp.einsum("bmk,bm->bk", slope, c, precision=HIGHEST).astype(x.dtype))[0]

    return System(
        loss, flatten(g).ravel(), params, (batch.inputs, slope), outputs, values, pull,
        partial(_curvature, objective, batch, y),
    )  # fmt: skip


def _alone(sample: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], sample)


def _shaped_like(tree: Any, flat: Array) -> Any:
    """Undo `flatten`: a rearrangement's transpose is its inverse."""
    shapes = jax.eval_shape(flatten, tree)
    (shaped,) = jax.linear_transpose(flatten, tree)(flat.reshape(shapes.shape))
    return shaped


def _curvature(objective: Objective, batch: Batch, y: Any, v: Array) -> Array:
    def slope(y: Any) -> Any:
        return objective.output_gradient(y, batch)[1]

    _, change = jax.jvp(slope, (y,), (_shaped_like(y, v),))
    return v @ flatten(change).ravel()


# --- the ways


def by_layers(system: System, power: Power) -> Solution:
    """Decompose J J^T = sum over layers (a_i . a_j + 1) (D_i D_j^T), without J."""
    arguments = system.outputs, system.params, system.samples
    return _from_rows(layerwise_gram(*arguments, dtype=power.dtype), system, power)


def by_rows(system: System, power: Power, pieces: int = 1) -> Solution:
    """Decompose J J^T from the rows of J, all at once or in `pieces` made anew for every pair."""
    arguments = system.outputs, system.params
    if pieces == 1:
        block = _block(system)
        gram = explicit_gram(*arguments, system.samples, dtype=power.dtype, block=block)
        return _from_rows(gram, system, power)

    def rows(samples: Any) -> Array:
        j = jacobian(*arguments, samples, block=_block(system))
        return j.reshape(-1, j.shape[-1])

    def strip(samples: Any) -> Array:
        left = rows(samples)
        return lax.map(lambda other: _evaluate_product(power.dtype, left, rows(other)), split)

    n = system.g.size
    split = jax.tree.map(lambda a: a.reshape(pieces, -1, *a.shape[1:]), system.samples)
    strips = lax.map(strip, split)  # [pieces, pieces, n / pieces, n / pieces]
    return _from_rows(strips.swapaxes(1, 2).reshape(n, n), system, power)


def by_columns(system: System, power: Power) -> Solution:
    """Decompose J^T J, the smaller matrix where there are fewer parameters than outputs."""
    j = jacobian(system.outputs, system.params, system.samples, block=_block(system))
    j = j.reshape(system.g.size, -1)
    gradient = system.pull(system.g)
    flat, unravel = ravel_pytree(gradient)
    spectrum = _decompose(_evaluate_product(power.dtype, j.T, j.T), flat, power)
    direction = spectrum.coefficients
    response = jnp.matmul(j, direction, precision=HIGHEST)
    return _solution(unravel(direction), response, spectrum, gradient, {})


def by_krylov(system: System, power: Power) -> Solution:
    """Golub-Kahan bidiagonalisation from g: `steps` products with J and J^T each.

    J^T U_m = V_m L^T with L [m, m] lower bidiagonal, so in the space of the first m steps
    V S^kappa U^T g = J^T U_m (L L^T)^((kappa - 1)/2) |g| e_1. It works on J and not on J J^T, whose
    small eigenvalues rounding would hide. `krylov_change` is the relative change of the direction
    over the last quarter of the steps, an estimate of what is missing.
    Source: G. Golub, W. Kahan, SIAM J. Numer. Anal. 2, 205 (1965); orthogonalised on one side as in
    H. Simon, H. Zha, SIAM J. Sci. Comput. 21, 2257 (2000).
    """
    _, push = jax.linearize(system.values, system.params)
    gradient = system.pull(system.g)
    basis, alpha, beta = _bidiagonalise(system, gradient, push, min(power.steps, system.g.size))
    lower = jnp.diag(alpha) + jnp.diag(beta[1:], -1)

    def leading(m: int) -> GramPower:
        part = lower[:m, :m]
        start = jnp.zeros(m, alpha.dtype).at[0].set(beta[0])
        return _decompose(_evaluate_product(power.dtype, part, part), start, power)

    early = (3 * len(alpha) + 3) // 4
    last, before = leading(len(alpha)), leading(early).coefficients
    missing = last.coefficients.at[:early].add(-before)
    # J^T U_m c = V_m L^T c, and V_m has orthonormal columns.
    size, change = (jnp.linalg.norm(lower.T @ c) for c in (last.coefficients, missing))
    direction = system.pull(jnp.matmul(last.coefficients, basis, precision=HIGHEST))
    extra = {"krylov_change": _over(change, size)}
    return _solution(direction, push(direction), last, gradient, extra)


def _bidiagonalise(
    system: System, gradient: Parameters, push: Callable[..., Array], steps: int
) -> tuple[Array, Array, Array]:
    """Return U [m, n], alpha [m], beta [m]: J^T u_k = alpha_k v_k + beta_k v_(k-1)."""
    g = system.g
    norm = jnp.linalg.norm(g)
    u, v = _over(g, norm), _over_tree(gradient, norm)
    alpha = _noiseless(optax.tree.norm(v), 0 * norm)
    v = _over_tree(v, alpha)

    def step(carry: Any, k: Array) -> tuple[Any, tuple[Array, Array]]:
        u, v, alpha, basis = carry
        w = push(v) - alpha * u  # beta u' = J v - alpha u
        for _ in range(2):  # once leaves rounding errors that grow
            w -= jnp.matmul(jnp.matmul(basis, w, precision=HIGHEST), basis, precision=HIGHEST)
        beta = _noiseless(jnp.linalg.norm(w), alpha)
        u = _over(w, beta)
        # alpha' v' = J^T u' - beta v
        v = optax.tree.add_scale(system.pull(u), -beta, v)
        after = _noiseless(optax.tree.norm(v), beta)
        return (u, _over_tree(v, after), after, basis.at[k].set(u)), (after, beta)

    basis = jnp.zeros((steps, g.size), g.dtype).at[0].set(u)
    carry, (alphas, betas) = lax.scan(step, (u, v, alpha, basis), jnp.arange(1, steps))
    return carry[3], jnp.append(alpha, alphas), jnp.append(norm, betas)


# --- parts of the ways


def _from_rows(gram: Array, system: System, power: Power) -> Solution:
    """Finish from J J^T: one decomposition, one pull."""
    spectrum = _decompose(gram, system.g, power)
    direction = system.pull(spectrum.coefficients)
    arguments = gram, system.g, spectrum.coefficients
    norm, inner, response = _evaluate_angle(power.dtype, system.g.dtype, *arguments)
    cosine = _over(inner, norm * optax.tree.norm(direction))
    return Solution(direction, response, spectrum, norm, cosine, {})


def _solution(
    direction: Parameters, response: Array, spectrum: GramPower, gradient: Parameters, extra: Info
) -> Solution:
    norm = optax.tree.norm(gradient)
    inner = jnp.asarray(optax.tree.vdot(direction, gradient))
    cosine = _over(inner, norm * optax.tree.norm(direction))
    return Solution(direction, response, spectrum, norm, cosine, extra)


def _decompose(gram: Array, vector: Array, power: Power) -> GramPower:
    tau: Any = power.tau
    if power.absolute:
        largest = _evaluate_largest(power.dtype, vector.dtype, gram)
        tau = _over(jnp.asarray(power.tau, vector.dtype), largest)
    return gram_power(gram, vector, power.kappa, tau, power.damping, power.dtype)


def _evaluate_product(dtype: str, left: Array, right: Array) -> Array:
    return _evaluate_matmul(dtype, dtype, left, right)


# Functions of a Gram matrix need its precision, whatever the run's.
_evaluate_matmul = evaluated_in(lambda a, b: jnp.matmul(a, b.T, precision=HIGHEST))
_evaluate_largest = evaluated_in(
    lambda gram: jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram)[-1], 0))
)


@evaluated_in
def _evaluate_angle(gram: Array, g: Array, c: Array) -> tuple[Array, Array, Array]:
    """|J^T g|, the inner product of J^T g and J^T c, and J J^T c."""
    product = jnp.matmul(gram, g, precision=HIGHEST)
    norm = jnp.sqrt(jnp.maximum(g @ product, 0))
    return norm, c @ product, jnp.matmul(gram, c, precision=HIGHEST)


def _over(a: Array, b: Array) -> Array:
    """a / b, and 0 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), jnp.where(jnp.isnan(b), b, 0))


def _over_tree(tree: Any, b: Array) -> Any:
    return jax.tree.map(lambda leaf: _over(leaf, b.astype(leaf.dtype)), tree)


def _noiseless(value: Array, scale: Array) -> Array:
    """Zero where only rounding is left, of `scale` or of squares too small for their type."""
    limits = jnp.finfo(value.dtype)
    noise = jnp.maximum(10 * limits.eps * scale, limits.tiny**0.5 / limits.eps)
    return jnp.where(value > noise, value, 0 * value)


def _block(system: System) -> int | None:
    """Samples that are differentiated at a time, none for all."""
    entries = sum(leaf.size for leaf in jax.tree.leaves(system.params)) * system.g.dtype.itemsize
    batch = jax.tree.leaves(system.samples)[0].shape[0]
    block = max(1, BLOCK_BYTES // max(1, entries * system.g.size // batch))
    return block if block < batch else None
