"""Powers of a Gram matrix from Cholesky factorisations of shifted matrices.

With the partial fractions of `physopt.numerics.rational`, a fractional power of A = G + mu I is

    A^-a g ~ scale^-a (constant g + sum_j weights_j scale (A + shifts_j scale I)^-1 g),

where scale >= max eigenvalue of A. For n above about 1,000 the factorisations take less time than
one eigendecomposition, by far so on a GPU.

This is the power of *all* eigenvalues: it equals the power with a cutoff only if no eigenvalue is
dropped. A - b I has a Cholesky factorisation if and only if every eigenvalue of A exceeds b: one
more factorisation proves that nothing is dropped and that the approximation holds for every
eigenvalue. If the proof fails the eigendecomposition is used, so that the error bound always holds.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from physopt.numerics.float64 import evaluated_in, real_array
from physopt.numerics.linalg import (
    HIGHEST,
    GramPower,
    check_options,
    decomposed_power,
    noise_level,
)
from physopt.numerics.rational import Rational

LANCZOS_STEPS = 24
"""Products with G that estimate its largest eigenvalue; its error is bounded by the residual."""

MARGIN = 1.05
"""Assumed bound on max eigenvalue / its estimate: the interval of the approximation is wider."""

BATCHED = 1024
"""Largest n of which all shifted matrices are factored at once."""

BLOCK = 256
"""Rows that a blocked triangular solve takes at a time."""


class ShiftedPower(NamedTuple):
    """How a power is approximated."""

    rational: Rational
    tolerance: float  # relative error of the direction
    together: bool  # keep all factors and solve with them at once, which suits a GPU

    @property
    def kappa(self) -> float:
        """Power of the singular values, (kappa - 1)/2 = -exponent."""
        return 1 - 2 * self.rational.exponent


def resolution(n: int, dtype: DTypeLike) -> float:
    """Return the least relative eigenvalue [n, n] that Cholesky distinguishes from zero."""
    return max(n, 64) * float(jnp.finfo(dtype).eps)


def shifted_gram_power(
    gram: ArrayLike,
    vector: ArrayLike,
    power: ShiftedPower,
    rcond: ArrayLike,
    damping: ArrayLike = 0.0,
    dtype: DTypeLike = np.float64,
) -> tuple[GramPower, Array]:
    """Return `gram_power` with a relative error of the direction of at most power.tolerance.

    With G = J J^T and the exact coefficients c*, |J^T (c - c*)| <= tolerance |J^T c*|, apart from
    rounding. Arguments as for `gram_power`. The second result is 1 if the eigendecomposition was
    used, 0 if not. Without it, `smallest` and `quartiles` are unknown, NaN, and so is `rank` unless
    it is proved to be n. Raises ValueError for negative rcond or damping; warns if G is coarser
    than float64 and the cutoff is below 1e-2.
    """
    floor = float(jnp.finfo(real_array(vector).dtype).tiny) ** 0.4
    gram_dtype = max(real_array(gram).dtype, np.dtype(dtype), key=lambda d: jnp.finfo(d).eps)
    check_options(gram_dtype, rcond, damping)
    evaluate = evaluated_in(functools.partial(_power, power, noise_level(gram_dtype), floor))
    arrays = [real_array(v) for v in (vector, gram, rcond, damping)]
    return evaluate(dtype, arrays[0].dtype, *arrays)


def _power(
    power: ShiftedPower, noise: float, floor: float,
    vector: Array, gram: Array, rcond: Array, damping: Array,
) -> tuple[GramPower, Array]:  # fmt: skip
    n, tolerance, kappa = len(vector), power.tolerance, power.kappa
    smallest = resolution(n, gram.dtype)
    largest, residual = _largest_eigenvalue(gram)
    damped = damping > 0
    shift = damping**2 * largest
    scale = MARGIN * largest + shift
    # A component that is rounding noise is dropped by an eigendecomposition and kept here. It adds
    # at most noise * damping^(kappa - 1) to a direction of size 1, which may be negligible.
    tiny = damped & (noise * jnp.where(damped, damping, 1) ** (kappa - 1) <= tolerance)
    cutoff = jnp.maximum(rcond**2, smallest) * MARGIN * largest
    bound = jnp.where(damped, jnp.where(tiny, 0.9 * shift, shift + smallest * largest), cutoff)
    least = jnp.maximum(bound, power.rational.least * scale)
    proof = jnp.diagonal(_factor(gram, shift - least))
    # The cutoff tolerates an error of the largest eigenvalue; damping is relative to it.
    known = (largest > 0) & (~damped | (residual <= 0.1 * tolerance * largest))
    holds = known & (least > floor**2) & jnp.all(jnp.isfinite(proof))
    all_kept = ~damped | (least >= shift + smallest * largest)

    def approximate() -> tuple[GramPower, Array]:
        coefficients = _approximate(power, gram, vector, shift, scale)
        rank = jnp.where(all_kept, jnp.asarray(n, gram.dtype), jnp.nan)
        unknown = jnp.full(4, jnp.nan, gram.dtype)
        result = GramPower(coefficients, rank, unknown[0], jnp.sqrt(largest), unknown[1:])
        return result, jnp.zeros((), gram.dtype)

    def exact() -> tuple[GramPower, Array]:
        options = (jnp.asarray(v, gram.dtype) for v in (kappa, rcond, damping, noise, floor))
        result = GramPower(*decomposed_power(vector, gram, *options))
        return result, jnp.ones((), gram.dtype)

    return lax.cond(holds, approximate, exact)


def _approximate(
    power: ShiftedPower, gram: Array, vector: Array, shift: Array, scale: Array
) -> Array:
    """Return scale^-a (constant g + sum_j weights_j scale (A + shifts_j scale)^-1 g)."""
    rational = power.rational
    total = rational.constant * vector
    if rational.shifts:
        shifts, weights = (jnp.asarray(v, gram.dtype) for v in (rational.shifts, rational.weights))
        solve = _solve_together if power.together else _solve_in_turn
        total += solve(gram, shift + scale * shifts, scale * weights, vector)
    return scale**-rational.exponent * total


def _factor(gram: Array, shift: Array) -> Array:
    """Return the lower Cholesky factor of G + shift I, NaN if it is not positive definite."""
    identity = jnp.eye(len(gram), dtype=gram.dtype)
    return lax.linalg.cholesky(gram + shift * identity, symmetrize_input=False)


def _solve_in_turn(gram: Array, shifts: Array, weights: Array, vector: Array) -> Array:
    """Return sum_j weights_j (G + shifts_j)^-1 vector with one factor in memory."""

    def add(total: Array, term: tuple[Array, Array]) -> tuple[Array, None]:
        shift, weight = term
        solution = jax.scipy.linalg.cho_solve((_factor(gram, shift), True), vector)
        return total + weight * solution, None

    return lax.scan(add, jnp.zeros_like(vector), (shifts, weights))[0]


def _solve_together(gram: Array, shifts: Array, weights: Array, vector: Array) -> Array:
    """Return the same with all factors in memory, and few launches of small kernels.

    A triangular solve with a single right-hand side is one long chain on a GPU. Here it is a chain
    of n / BLOCK products with inverted diagonal blocks, for all shifts at once.
    """
    n = len(vector)
    missing = -n % BLOCK
    if missing:  # rows of a diagonal matrix do not change the others
        gram = jnp.pad(gram, (0, missing)) + jnp.diag(
            jnp.pad(jnp.zeros(n, gram.dtype), (0, missing), constant_values=gram[0, 0])
        )
        vector = jnp.pad(vector, (0, missing))
    # On an H100 ten batched factorisations take half the time of ten single ones for n = 1,024, and
    # 1.6 times their time for n = 4,096.
    batch_size = len(shifts) if n <= BATCHED else 1
    factors = lax.map(functools.partial(_factor, gram), shifts, batch_size=batch_size)
    blocks = [slice(start, start + BLOCK) for start in range(0, n, BLOCK)]
    diagonal = jnp.stack([factors[:, rows, rows] for rows in blocks], axis=1)
    identity = jnp.broadcast_to(jnp.eye(BLOCK, dtype=gram.dtype), diagonal.shape)
    inverses = lax.linalg.triangular_solve(diagonal, identity, left_side=True, lower=True)

    def product(equation: str, matrices: Array, vectors: Array) -> Array:
        return jnp.einsum(equation, matrices, vectors, precision=HIGHEST)

    forward = jnp.zeros((len(shifts), 0), gram.dtype)  # L z = vector
    for k, rows in enumerate(blocks):
        rest = vector[rows] - product("tij,tj->ti", factors[:, rows, : rows.start], forward)
        part = product("tij,tj->ti", inverses[:, k], rest)
        forward = jnp.concatenate([forward, part], axis=1)
    backward = jnp.zeros((len(shifts), 0), gram.dtype)  # L^T x = z
    for k, rows in reversed(list(enumerate(blocks))):
        rest = forward[:, rows] - product("tji,tj->ti", factors[:, rows.stop :, rows], backward)
        part = product("tji,tj->ti", inverses[:, k], rest)
        backward = jnp.concatenate([part, backward], axis=1)
    return (weights @ backward)[:n]


def _largest_eigenvalue(matrix: Array) -> tuple[Array, Array]:
    """Return the largest Ritz value of LANCZOS_STEPS Lanczos steps, and its residual.

    An eigenvalue lies within the residual |A v - theta v| of the Ritz value theta. Vectors that
    lose orthogonality only repeat values that have converged.
    """
    n = len(matrix)
    # A chirp: like noise, it has a component along any eigenvector met in practice.
    start = jnp.cos(jnp.arange(n, dtype=matrix.dtype) ** 2)

    def step(carry: tuple[Array, ...], _: None) -> tuple[tuple[Array, ...], tuple[Array, Array]]:
        before, vector, beta = carry
        product = jnp.matmul(matrix, vector, precision=HIGHEST) - beta * before
        alpha = product @ vector
        rest = product - alpha * vector
        norm = jnp.linalg.norm(rest)
        following = rest / jnp.where(norm > 0, norm, 1)
        return (vector, following, norm), (alpha, norm)

    begin = jnp.zeros_like(start), start / jnp.linalg.norm(start), jnp.zeros((), matrix.dtype)
    _, (alphas, betas) = lax.scan(step, begin, None, min(LANCZOS_STEPS, n))
    values, vectors = jnp.linalg.eigh(
        jnp.diag(alphas) + jnp.diag(betas[:-1], 1) + jnp.diag(betas[:-1], -1)
    )
    return values[-1], jnp.abs(betas[-1] * vectors[-1, -1])
