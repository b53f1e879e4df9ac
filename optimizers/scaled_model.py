"""The linear model of a batch's residual with scaled parameters, and its damped minimiser.

r = sqrt(b) dL/dy is the residual of the mean loss of b samples and A = J / sqrt(b) its Jacobian.
A model gives, for each damping mu, step = -D^-1 argmin_s |A D^-1 s - r|^2 + mu |s|^2.
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from physopt.machine.devices import widest_float
from physopt.numerics.damped_least_squares import Solver, factorised
from physopt.numerics.float64 import evaluated_in
from physopt.objective import Linearised


class Step(NamedTuple):
    """The minimiser for one damping."""

    step: Array  # [P]
    change: Array  # J step [n]
    length: Array  # |D step|


class ScaledModel(NamedTuple):
    """A factorised model, which serves all dampings."""

    solve: Callable[[Array], Step]
    scale: Array  # D [P]
    lowest: Array  # the least damping that rounding leaves
    gradient_norm: Array  # |dL/dtheta|
    sweeps: int  # pullbacks or pushforwards of a sample


def explicit_model(
    system: Linearised, batch: int, before: Array, solver: Solver, uniform: bool
) -> ScaledModel:
    """Return the model by a factorisation of A or of its smaller Gram matrix.

    before: D of the last update, which never shrinks. uniform: D is the Frobenius norm of A.
    """
    j, forward = jacobian_of(system, batch)
    root = batch**0.5
    r, a = root * system.gradient, j / root
    norms = jnp.linalg.norm(a, axis=None if uniform else 0)
    # A column that overflows leaves D as it was.
    scale = jnp.maximum(before, jnp.where(jnp.isfinite(norms), norms, 0))
    d = jnp.where(scale > 0, scale, 1)
    a = a / d
    damped, lowest = factorised(a, r, solver, widest_float())

    def solve(damping: Array) -> Step:
        scaled = damped(damping)
        return Step(-scaled / d, -root * (a @ scaled), jnp.linalg.norm(scaled))

    sweeps = j.shape[1] if forward else j.shape[0] // batch
    return ScaledModel(solve, scale, lowest, jnp.linalg.norm(d * (a.T @ r)), sweeps)


def layerwise_model(system: Linearised, batch: int, before: Array) -> ScaledModel:
    """Return the model with uniform D by the Gram matrix A A^T, layer by layer, without J.

    The step is J^T z with (A A^T / D^2 + mu) z = r: for fewer outputs than parameters.
    """
    dtype, run = widest_float(), system.gradient.dtype
    gram, root = system.gram(dtype), batch**0.5
    norm = jnp.sqrt(_trace(dtype, run, gram)) / root
    scale = jnp.maximum(before, jnp.where(jnp.isfinite(norm), norm, 0))
    d = jnp.where(scale[0] > 0, scale[0], 1)
    r = root * system.gradient

    def solve(damping: Array) -> Step:
        z, az, energy = _shifted_solve(dtype, run, gram, r, (root * d) ** -2, damping)
        pulled = ravel_pytree(system.pull(z))[0]
        length = jnp.sqrt(jnp.maximum(energy, 0))
        return Step(-pulled / (root * d**2), -root * az, length)

    lowest = max(8 * float(jnp.finfo(dtype).eps), float(jnp.finfo(run).eps) ** 2)
    gradient = ravel_pytree(system.pull(system.gradient))[0]
    sweeps = system.gradient.size // batch
    norm = jnp.linalg.norm(gradient)
    return ScaledModel(solve, scale, jnp.asarray(lowest, run), norm, sweeps)


def jacobian_of(system: Linearised, batch: int) -> tuple[Array, bool]:
    """Return J [n, P], and whether it was computed by columns, in forward mode.

    By columns if there are fewer of them than outputs of a sample, and the physics has forward
    differentiation (no custom_vjp).
    """
    flat, unravel = ravel_pytree(system.params)
    if flat.size < system.gradient.size // batch:
        basis = jnp.eye(flat.size, dtype=flat.dtype)
        with contextlib.suppress(TypeError):
            forward = system.forward()
            return jax.vmap(lambda v: forward(unravel(v)), out_axes=1)(basis), True
    return system.rows(), False


_trace = evaluated_in(jnp.trace)


@evaluated_in
def _shifted_solve(
    gram: Array, r: Array, factor: Array, shift: Array
) -> tuple[Array, Array, Array]:
    """Return z, G z and z.G z with (G + shift) z = r for G = factor * gram."""
    scaled = factor * gram
    root = jnp.linalg.cholesky(scaled + shift * jnp.eye(len(gram), dtype=gram.dtype))
    z = jax.scipy.linalg.cho_solve((root, True), r)
    product = scaled @ z
    return z, product, z @ product
