"""Damped least squares for several dampings of one matrix, by QR of it or by its Gram matrix.

QR resolves singular values down to eps of the largest, a Gram matrix only their squares: its
eigenvalues below eps of its trace are rounding. Products must have full precision, see
`physopt.numerics.linalg`.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from physopt.numerics.float64 import evaluated_in

Solver = Literal["qr", "gram"]
Solve = Callable[[Array], Array]


def factorised(
    a: Array, r: Array, solver: Solver, gram_dtype: DTypeLike = "float64"
) -> tuple[Solve, Array]:
    """Return the function mu -> argmin_s |a s - r|^2 + mu |s|^2 [P], and the least mu it resolves.

    a: [n, P]; r: [n]. a is factorised or multiplied once; each mu costs min(n, P)^3 operations.
    If n < P, s = a^T z with n unknowns z. gram: the Gram matrix and its Cholesky factorisations are
    of `gram_dtype`; the result is NaN if rounding makes the shifted matrix indefinite.
    """
    wide = a.shape[0] < a.shape[1]
    return _by_qr(a, r, wide) if solver == "qr" else _by_gram(a, r, wide, gram_dtype)


def _by_qr(a: Array, r: Array, wide: bool) -> tuple[Solve, Array]:
    # The last column of the factor of [a, r] is Q^T r, so that Q is not needed.
    if wide:  # a^T = Q R: the matrix of the smaller problem is R^T
        q, upper = jnp.linalg.qr(a.T)
        system = jnp.column_stack([upper.T, r])
    else:
        q, system = None, jnp.linalg.qr(jnp.column_stack([a, r]), mode="r")
    size = system.shape[1] - 1
    identity = jnp.eye(size, size + 1, dtype=a.dtype)

    def solve(damping: Array) -> Array:
        rows = jnp.concatenate([system[:size], jnp.sqrt(damping) * identity])
        factor = jnp.linalg.qr(rows, mode="r")[:size]
        z = jax.scipy.linalg.solve_triangular(factor[:, :size], factor[:, size])
        return z if q is None else q @ z

    return solve, _squared_rounding(a)


def _by_gram(a: Array, r: Array, wide: bool, dtype: DTypeLike) -> tuple[Solve, Array]:
    gram, right = (_gram_of_rows if wide else _gram_of_columns)(dtype, dtype, a, r)

    def solve(damping: Array) -> Array:
        z = _shifted_solve(dtype, a.dtype, gram, right, damping)
        return a.T @ z if wide else z

    rounding = 8 * float(jnp.finfo(dtype).eps) * jnp.sum(a**2)
    return solve, jnp.maximum(rounding, _squared_rounding(a))


def _squared_rounding(a: Array) -> Array:
    return jnp.asarray(float(jnp.finfo(a.dtype).eps) ** 2, a.dtype)


_gram_of_rows = evaluated_in(lambda a, r: (a @ a.T, r))
_gram_of_columns = evaluated_in(lambda a, r: (a.T @ a, a.T @ r))


@evaluated_in
def _shifted_solve(gram: Array, right: Array, shift: Array) -> Array:
    """Return (gram + shift I)^-1 right."""
    factor = jnp.linalg.cholesky(gram + shift * jnp.eye(len(gram), dtype=gram.dtype))
    return jax.scipy.linalg.cho_solve((factor, True), right)
