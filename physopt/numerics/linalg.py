"""Spectral powers of a Jacobian and damped solves.

The spectral-power family of updates is, with the thin singular value decomposition
J = U S V^T of the Jacobian of all outputs of a batch in all parameters,

    update = V S^kappa U^T vector,

gradient descent for kappa = 1, half-inverse gradients for kappa = -1/2 (P. Schnell, P. Holl,
N. Thuerey, "Half-inverse gradients for physical deep learning", arXiv:2203.10131, ICLR 2022),
Gauss-Newton for kappa = -1. V is never formed: with the Gram matrices,

    V S^kappa U^T vector = J^T (J J^T)^((kappa - 1)/2) vector = (J^T J)^((kappa - 1)/2) J^T vector,

so one symmetric eigendecomposition of the smaller Gram matrix is enough. For large matrices
`physopt.numerics.shifted` takes the power by Cholesky factorisations instead.

Precision of each step. A Gram matrix has the squared singular values of J: rounding it at relative
precision eps hides every singular value below about sqrt(eps) max(s), which is 3e-4 in float32, far
above the usual cutoffs of 1e-6 to 1e-4. The Gram matrix, its eigendecomposition and the
weights s^(kappa - 1) are therefore computed in float64 (1e-8). The Jacobian (or the factors of the
Gram matrix) and the last product with J^T enter linearly and may stay float32: they carry a
relative error of 6e-8 of max(s), so cutoffs of 1e-6 still work. A Gram matrix that was rounded to
float32 at any point supports cutoffs of 1e-2 and above only. Products use HIGHEST precision, since
GPUs and TPUs otherwise round the operands of a float32 product to 10 or 7 bits. TPUs have no
float64 units: pass dtype=float32 with a cutoff of 1e-2 there.

`physopt.numerics.float64` makes float64 usable inside float32 programs.
"""

import functools
import warnings
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike

from physopt.numerics.float64 import evaluated_in, real_array

HIGHEST = lax.Precision.HIGHEST


class GramPower(NamedTuple):
    """Coefficients c of update = J^T c, and the spectrum that was retained.

    coefficients: [n]; rank: number of retained singular values above the noise of the Gram
    matrix; smallest, largest: the smallest of these and the largest singular value of J (zero for
    a zero Jacobian); quartiles: [3], of all singular values of the decomposed side, ascending.
    """

    coefficients: Array
    rank: Array
    smallest: Array
    largest: Array
    quartiles: Array


def noise_level(dtype: np.dtype) -> float:
    """Return noise: singular values below noise * max(s) are rounding of a Gram matrix.

    Zero eigenvalues of a computed Gram matrix come out as up to 5 eps of the largest one (measured
    for n from 2 to 1000); 64 eps leaves a margin; its root is 1.2e-7 (float32: 2.8e-3).
    """
    return 8.0 * float(jnp.finfo(dtype).eps) ** 0.5


class _Spectrum(NamedTuple):
    weights: Array
    rank: Array
    smallest: Array
    largest: Array
    quartiles: Array


def _spectrum(
    eigenvalues: Array,
    kappa: Array,
    rcond: Array,
    damping: Array,
    noise: Array,
    floor: Array | float = 0.0,
) -> _Spectrum:
    """Return s^(kappa - 1) for a Gram matrix's ascending eigenvalues s^2, cut off or damped."""
    s = jnp.sqrt(jnp.maximum(eigenvalues, 0))
    largest = s[-1]
    # Positive powers do not amplify rounding: kappa = 1 with rcond = 0 keeps everything, exactly.
    cutoff = jnp.maximum(jnp.where(damping > 0, 0, rcond), jnp.where(kappa < 1, noise, 0))
    kept = (s >= cutoff * largest) & (s >= jnp.where(kappa < 1, floor, 0)) & (largest > 0)
    square = s**2 + (damping * largest) ** 2
    # The inner where keeps 0^negative, and its derivative, out of the discarded branch.
    weights = jnp.where(kept, jnp.where(kept & (square > 0), square, 1) ** ((kappa - 1) / 2), 0)
    counted = kept & (s > noise * largest)
    smallest = jnp.min(jnp.where(counted, s, largest))
    quartiles = s[np.round(np.array([0.25, 0.5, 0.75]) * (len(s) - 1)).astype(int)]
    return _Spectrum(weights, jnp.sum(counted, dtype=s.dtype), smallest, largest, quartiles)


def decomposed_power(vector: Array, gram: Array, *options: Array) -> GramPower:
    """Return `gram_power` for arrays of one type; options: kappa, rcond, damping, noise, floor."""
    eigenvalues, vectors = jnp.linalg.eigh(gram)
    spectrum = _spectrum(eigenvalues, *options)
    projected = jnp.matmul(vectors.T, vector, precision=HIGHEST)
    coefficients = jnp.matmul(vectors, spectrum.weights * projected, precision=HIGHEST)
    return GramPower(coefficients, *spectrum[1:])


def _apply_damped_solve(residual: Array, jacobian: Array, damping: Array) -> Array:
    m, k = jacobian.shape[-2:]
    a, at = jacobian, jacobian.mT
    gram = jnp.matmul(a, at, precision=HIGHEST) if m <= k else jnp.matmul(at, a, precision=HIGHEST)
    scale = jnp.trace(gram, axis1=-2, axis2=-1)[..., None, None] / m
    shift = jnp.where(scale > 0, damping * scale, 1)  # A = 0 gives 0 with any positive shift
    factor = jnp.linalg.cholesky(gram + shift * jnp.eye(gram.shape[-1], dtype=gram.dtype))
    right = residual[..., None]
    if m > k:
        right = jnp.matmul(at, right, precision=HIGHEST)
    solve = functools.partial(lax.linalg.triangular_solve, factor, left_side=True, lower=True)
    solution = solve(solve(right), transpose_a=True)
    return (jnp.matmul(at, solution, precision=HIGHEST) if m <= k else solution)[..., 0]


_evaluate_power = evaluated_in(decomposed_power)
_evaluate_damped_solve = evaluated_in(_apply_damped_solve)


def check_options(gram_dtype: np.dtype, rcond: ArrayLike, damping: ArrayLike) -> None:
    """Raise for negative options, warn if a Gram matrix is too coarse for the cutoff."""
    numbers = [v for v in (rcond, damping) if isinstance(v, int | float)]
    if any(v < 0 for v in numbers):
        raise ValueError(f"rcond and damping must not be negative, got {rcond} and {damping}")
    coarse = jnp.finfo(gram_dtype).eps > jnp.finfo(np.float64).eps
    if coarse and len(numbers) == 2 and max(numbers) < 1e-2:
        warnings.warn(
            f"a {gram_dtype} Gram matrix resolves singular values down to 1e-2 of the largest only;"
            f" rcond = {rcond} and damping = {damping} need more",
            stacklevel=3,
        )


def gram_power(
    gram: ArrayLike,
    vector: ArrayLike,
    kappa: ArrayLike = -0.5,
    rcond: ArrayLike = 1e-5,
    damping: ArrayLike = 0.0,
    dtype: DTypeLike = np.float64,
) -> GramPower:
    """Return coefficients c = G^((kappa - 1)/2) vector for a Gram matrix G.

    With G = J J^T and one vector-Jacobian product, J^T c = V S^kappa U^T vector; J is never built.

    gram: [n, n], symmetric, best in float64; vector: [n]; coefficients [n], in the vector's dtype.
    kappa: the power (Schnell, Holl, Thuerey, arXiv:2203.10131: -1/2).
    rcond: components with s < rcond max(s) are dropped.
    damping: a positive delta replaces this cutoff by the smooth weights
        s (s^2 + delta^2 max(s)^2)^((kappa - 1)/2) of V S^kappa U^T.
    dtype: of the decomposition.
    For kappa < 1 components that are rounding noise are always dropped: those with
    s < 1.2e-7 max(s), or 2.8e-3 max(s) if G or `dtype` is float32, and those with s below the
    smallest normal number of the vector's dtype to the power 0.4 (6e-16 in float32), since
    s^(kappa - 1) times a residual would overflow.
    Raises ValueError for shapes that do not fit, complex arrays, and negative rcond or damping;
    warns if G is coarser than float64 and the cutoff is below 1e-2.

    Derivatives are reverse-mode. The one in G is that of an eigendecomposition: it exists if the
    eigenvalues are distinct.
    """
    shape, length = jnp.shape(gram), jnp.shape(vector)
    if len(shape) != 2 or shape[0] != shape[1] or length != shape[:1]:
        raise ValueError(f"expected a gram [n, n] and a vector [n], got {shape} and {length}")
    gram_dtype = max(real_array(gram).dtype, np.dtype(dtype), key=lambda d: jnp.finfo(d).eps)
    check_options(gram_dtype, rcond, damping)
    floor = float(jnp.finfo(real_array(vector).dtype).tiny) ** 0.4
    options = kappa, rcond, damping, noise_level(gram_dtype), floor
    arrays = [real_array(v) for v in (vector, gram, *options)]
    result = _evaluate_power(dtype, arrays[0].dtype, *arrays)
    return result._replace(rank=lax.convert_element_type(result.rank, np.int32))


def damped_solve(
    jacobian: ArrayLike,
    residual: ArrayLike,
    damping: ArrayLike = 1e-3,
    dtype: DTypeLike = np.float64,
) -> Array:
    """Return A^T (A A^T + damping tr(A A^T)/K I)^-1 r, small dense Levenberg-Marquardt steps.

    K is the number of residuals, so that damping is relative to the mean squared singular value.
    Solved by Cholesky factorisation on the smaller side, as (A^T A + ...)^-1 A^T r if A is tall.

    jacobian: [..., K, N]; residual: [..., K]; result: [..., N], in the residual's dtype; zero for
    a zero Jacobian. damping = 0 gives the pseudo-inverse if A has full rank, NaN otherwise.
    Raises ValueError for shapes that do not fit, complex arrays, and a negative damping.
    """
    shape, length = jnp.shape(jacobian), jnp.shape(residual)
    if len(shape) < 2 or length != shape[:-1]:
        raise ValueError(
            f"expected a jacobian [..., K, N] and a residual [..., K], got {shape} and {length}"
        )
    if isinstance(damping, int | float) and damping < 0:
        raise ValueError(f"damping must not be negative, got {damping}")
    arrays = [real_array(v) for v in (residual, jacobian, damping)]
    return _evaluate_damped_solve(dtype, arrays[0].dtype, *arrays)
