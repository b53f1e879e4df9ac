"""Truncated Gauss-Newton step of one sample, without a Jacobian."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from physopt.problems.fluid.conjugate_gradient import System, iterated


def gauss_newton_step(
    simulate: Callable[[jax.Array], jax.Array], x: jax.Array, target: jax.Array, iterations: int
) -> jax.Array:
    """Return the step after some iterations of CG on J^T J dx = J^T (y* - y), with J = dy/dx.

    Stopping early damps the directions of small singular values. Each iteration costs a forward
    and a reverse derivative of y = simulate(x).
    """
    y, push = jax.linearize(simulate, x)
    pull = jax.linear_transpose(push, x)
    system = System(lambda step: pull(push(step))[0], pull(target - y)[0])
    return iterated(system, jnp.zeros_like(x), iterations)
