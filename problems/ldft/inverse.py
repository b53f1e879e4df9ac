"""Inverse solvers: damped Gauss-Newton steps on the relaxed matrix, one linearisation each."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from physopt.machine.devices import widest_float
from physopt.numerics.linalg import damped_solve

LONGEST_STEP = 1.0

STAGES = 4
"""Sharpnesses k = 1, 2, 4, 8 at which `anneal` solves."""

OFFSETS = (0.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0)
"""Constants that `shifted_copies` adds to x: steps from a wrong porosity lead nowhere."""

WIDEST = 2.0
"""Largest |x| from which `anneal` starts: beyond, sigmoid(x) has no slope."""

IsothermAndJacobian = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class _Iterate(NamedTuple):
    x: jax.Array
    step_bound: jax.Array  # [batch]
    best_x: jax.Array
    best_error: jax.Array  # [batch]
    last_error: jax.Array  # [batch]


def inverse_step(
    x: jax.Array,
    target: jax.Array,
    physics: IsothermAndJacobian,
    iterations: int,
    damping: float,
) -> jax.Array:
    """Return P^-1(y* | x), x [batch, *lattice] after `iterations` steps towards the isotherm y*.

    With eta = sigmoid(x) and J = dy/dx = dy/deta diag(eta (1 - eta)), each step is

        d = J^T (J J^T + damping tr(J J^T) / K I)^-1 (y* - y),   x <- x + clip(d, -b, b).

    cond(J J^T) is about 1e20, so damping is essential. The bound b starts at 1, is halved if the
    area error grew by more than a fifth, and otherwise grows by 1.3 up to 1. Every step is
    accepted; after more than one, the iterate with the smallest area error is returned.
    """
    start = _first_iterate(x)

    def body(_, now: _Iterate) -> _Iterate:
        return _gauss_newton_step(now, target, physics, damping)

    if iterations == 1:
        return body(0, start).x
    end = jax.lax.fori_loop(0, iterations, body, start)
    y, _ = physics(jax.nn.sigmoid(end.x))
    improved = jnp.mean(jnp.abs(y - target), axis=-1) < end.best_error
    return jnp.where(_per_sample(improved, x), end.x, end.best_x)


def shifted_copies(x: jax.Array) -> jax.Array:
    """Return clip(x, -2, 2) plus each of OFFSETS [offsets, batch, *lattice]."""
    offsets = jnp.asarray(OFFSETS, x.dtype).reshape(-1, *(1,) * x.ndim)
    return jnp.clip(x, -WIDEST, WIDEST) + offsets


def anneal(
    starts: jax.Array,
    count: jax.Array,
    target: jax.Array,
    physics: IsothermAndJacobian,
    steps: int,
    damping: float,
) -> tuple[jax.Array, jax.Array]:
    """Return x [batch, *lattice] and the area error of sigmoid(8 x) [batch].

    The steps are those of `inverse_step` for eta = sigmoid(k x) at k = 1, 2, 4, 8, each from the
    best iterate of the last: the isotherm follows while the matrix becomes binary.

    Args:
        starts: x from which the steps may start [starts, batch, *lattice]; they begin at the one
            with the least area error of sigmoid(x).
        count: how many of `starts` are tried.
        target: isotherms y* [batch, points].
        physics: y and dy/deta of matrices.
        steps: steps at each k.
        damping: relative to the mean squared singular value.
    """

    def body(index: jax.Array, state: tuple[_Iterate, jax.Array]) -> tuple[_Iterate, jax.Array]:
        # Trials of starts and steps use one call of the simulator, which is compiled once.
        now, error = state
        after = _gauss_newton_step(now, target, physics, damping)
        trying = index < count - 1
        selected = index == count - 1
        sharpen = (index >= count) & ((index - count + 1) % steps == 0)
        error = jnp.where(sharpen, after.best_error, error)
        restart = _first_iterate(jnp.where(sharpen, 2, 1) * after.best_x)
        after = jax.tree.map(partial(jnp.where, selected | sharpen), restart, after)
        return after._replace(x=jnp.where(trying, starts[index + 1], after.x)), error

    first = _first_iterate(starts[0])
    end, error = jax.lax.fori_loop(0, count + STAGES * steps, body, (first, first.best_error))
    return end.x, error


def steps_per_stage(evaluations: int) -> int:
    """Return the steps at each sharpness of `anneal` from the `shifted_copies`, for an effort in
    isotherms with Jacobians.
    """
    return (evaluations - len(OFFSETS)) // STAGES


def fewest_evaluations() -> int:
    """Return the least effort of `anneal` from the `shifted_copies`: one step in every stage."""
    return len(OFFSETS) + 2 * STAGES


def _first_iterate(x: jax.Array) -> _Iterate:
    infinite = jnp.full(len(x), jnp.inf, x.dtype)
    return _Iterate(x, jnp.full(len(x), LONGEST_STEP, x.dtype), x, infinite, infinite)


def _gauss_newton_step(
    now: _Iterate, target: jax.Array, physics: IsothermAndJacobian, damping: float
) -> _Iterate:
    x = now.x
    eta = jax.nn.sigmoid(x)
    y, slope = physics(eta)
    error = jnp.mean(jnp.abs(y - target), axis=-1)
    grew = error > 1.2 * now.last_error
    bound = jnp.where(grew, now.step_bound / 2, jnp.minimum(1.3 * now.step_bound, LONGEST_STEP))
    better = error < now.best_error
    jacobian = (slope * (eta * (1 - eta))[:, None]).reshape(*y.shape, -1)
    step = damped_solve(jacobian, target - y, damping, widest_float()).reshape(x.shape)
    limit = _per_sample(bound, x)
    return _Iterate(
        x + jnp.clip(step, -limit, limit),
        bound,
        jnp.where(_per_sample(better, x), x, now.best_x),
        jnp.minimum(error, now.best_error),
        error,
    )


def best_offset(
    x: jax.Array,
    target: jax.Array,
    isotherm: Callable[[jax.Array], jax.Array],
    offsets: tuple[float, ...],
) -> jax.Array:
    """Add to each x the constant of `offsets` whose isotherm has the smallest area error.

    A constant shifts the porosity, for which Gauss-Newton steps far from the target are poor.
    """
    shifted = jnp.stack([x + offset for offset in offsets])
    flat = shifted.reshape(-1, *x.shape[1:])
    y = isotherm(jax.nn.sigmoid(flat)).reshape(len(offsets), *target.shape)
    best = jnp.argmin(jnp.mean(jnp.abs(y - target), axis=-1), axis=0)
    return jnp.take_along_axis(shifted, best.reshape(1, -1, *(1,) * (x.ndim - 1)), axis=0)[0]


def _per_sample(values: jax.Array, x: jax.Array) -> jax.Array:
    return values.reshape(-1, *(1,) * (x.ndim - 1))
