"""Ways to the direction V S^kappa U^T g of the spectral-power family.

With J = dy/dtheta = U S V^T [n, P] of all outputs of a batch, n = batch |y|, and g = dL/dy [n],

    V S^kappa U^T g = J^T (J J^T)^((kappa - 1)/2) g = (J^T J)^((kappa - 1)/2) J^T g.

The exact ways decompose one of the two Gram matrices, and differ in how they get it; `krylov` has
an approximate one, and `methods` chooses among them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from physopt.numerics.float64 import evaluated_in
from physopt.numerics.gram import explicit_gram, jacobian, layerwise_gram
from physopt.numerics.linalg import HIGHEST, GramPower, gram_power
from physopt.objective import Objective, flatten
from physopt.problem import Batch
from physopt.rule import Info, Parameters

BLOCK_BYTES = 2**28
"""Explicit rows of J that are differentiated at a time."""


class Power(NamedTuple):
    """Which function of the singular values is applied; see
    `physopt.numerics.linalg.spectral_power`."""

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
        return lax.map(lambda other: precise_product(power.dtype, left, rows(other)), split)

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
    spectrum = decompose(precise_product(power.dtype, j.T, j.T), flat, power)
    direction = spectrum.coefficients
    response = jnp.matmul(j, direction, precision=HIGHEST)
    return solution_of(unravel(direction), response, spectrum, gradient, {})


# --- parts of the ways


def _from_rows(gram: Array, system: System, power: Power) -> Solution:
    """Finish from J J^T: one decomposition, one pull."""
    spectrum = decompose(gram, system.g, power)
    direction = system.pull(spectrum.coefficients)
    arguments = gram, system.g, spectrum.coefficients
    norm, inner, response = _evaluate_angle(power.dtype, system.g.dtype, *arguments)
    cosine = quotient(inner, norm * optax.tree.norm(direction))
    return Solution(direction, response, spectrum, norm, cosine, {})


def solution_of(
    direction: Parameters, response: Array, spectrum: GramPower, gradient: Parameters, extra: Info
) -> Solution:
    """Add the angle between direction and gradient, which are trees of one structure."""
    norm = optax.tree.norm(gradient)
    inner = jnp.asarray(optax.tree.vdot(direction, gradient))
    cosine = quotient(inner, norm * optax.tree.norm(direction))
    return Solution(direction, response, spectrum, norm, cosine, extra)


def decompose(gram: Array, vector: Array, power: Power) -> GramPower:
    """Return gram^((kappa - 1)/2) vector, cut off or damped as `power` says."""
    tau: Any = power.tau
    if power.absolute:
        largest = _evaluate_largest(power.dtype, vector.dtype, gram)
        tau = quotient(jnp.asarray(power.tau, vector.dtype), largest)
    return gram_power(gram, vector, power.kappa, tau, power.damping, power.dtype)


def precise_product(dtype: str, left: Array, right: Array) -> Array:
    """Return left right^T, computed in `dtype`."""
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


def quotient(a: Array, b: Array) -> Array:
    """Return a / b, and 0 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), jnp.where(jnp.isnan(b), b, 0))


def _block(system: System) -> int | None:
    """Samples that are differentiated at a time, none for all."""
    entries = sum(leaf.size for leaf in jax.tree.leaves(system.params)) * system.g.dtype.itemsize
    batch = jax.tree.leaves(system.samples)[0].shape[0]
    block = max(1, BLOCK_BYTES // max(1, entries * system.g.size // batch))
    return block if block < batch else None
