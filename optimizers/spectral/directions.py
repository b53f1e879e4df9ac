"""Ways to the direction V S^kappa U^T g of the spectral-power family.

With J = dy/dtheta = U S V^T [n, P] of all outputs of a batch, n = batch |y|, and g = dL/dy [n],

    V S^kappa U^T g = J^T (J J^T)^((kappa - 1)/2) g = (J^T J)^((kappa - 1)/2) J^T g.

Each function here takes the power of one of the two Gram matrices; they differ in how the matrix
is computed. `krylov` needs none, and `methods` chooses among them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from physopt.numerics.float64 import evaluated_in
from physopt.numerics.linalg import HIGHEST, GramPower, gram_power
from physopt.numerics.shifted import ShiftedPower, shifted_gram_power
from physopt.objective import Linearised
from physopt.rule import Info, Parameters


class Power(NamedTuple):
    """The function of the singular values, as in `physopt.numerics.linalg.gram_power`."""

    kappa: float
    tau: Array | float  # singular values below are dropped
    absolute: bool  # tau is a singular value, not a fraction of the largest
    damping: Array | float  # relative, smooth; replaces tau where it is positive
    dtype: str  # of Gram matrices and their decomposition
    shifted: ShiftedPower | None = None  # a rational approximation of the power
    split: bool = False  # compute the weak part as well, for a positive damping


class Solution(NamedTuple):
    """The direction V S^kappa U^T g, and diagnostics of its computation."""

    direction: Parameters
    response: Array  # J direction [n]
    spectrum: GramPower
    gradient_norm: Array  # |dL/dtheta|
    cosine: Array  # between direction and dL/dtheta
    extra: Info  # further diagnostics
    weak: Parameters | None = None  # the part that the damping shortens most


def by_layers(system: Linearised, power: Power) -> Solution:
    """Decompose J J^T = sum over layers (a_i . a_j + 1) (D_i D_j^T), without J."""
    return _from_outputs(system.gram(power.dtype), system, power)


def by_rows(system: Linearised, power: Power, pieces: int = 1) -> Solution:
    """Decompose J J^T from the rows of J: all at once, or in `pieces` of the batch, whose rows are
    recomputed for every pair of pieces.
    """
    if pieces == 1:
        return _from_outputs(system.gram(power.dtype, layerwise=False), system, power)

    def strip(samples: Any) -> Array:
        left = system.rows(samples)
        return lax.map(lambda other: precise_product(power.dtype, left, system.rows(other)), split)

    n = system.gradient.size
    split = jax.tree.map(lambda a: a.reshape(pieces, -1, *a.shape[1:]), system.samples)
    strips = lax.map(strip, split)  # [pieces, pieces, n / pieces, n / pieces]
    return _from_outputs(strips.swapaxes(1, 2).reshape(n, n), system, power)


def by_columns(system: Linearised, power: Power) -> Solution:
    """Decompose J^T J, the smaller matrix if there are fewer parameters than outputs."""
    j = system.rows()
    gradient = system.pull(system.gradient)
    flat, unravel = ravel_pytree(gradient)
    gram = precise_product(power.dtype, j.T, j.T)
    spectrum, extra = powered(gram, flat, power)
    direction = spectrum.coefficients
    response = jnp.matmul(j, direction, precision=HIGHEST)
    weak = weak_part(gram, spectrum, power, unravel)
    return solution_of(unravel(direction), response, spectrum, gradient, extra, weak)


def _from_outputs(gram: Array, system: Linearised, power: Power) -> Solution:
    """Finish from J J^T: one power and one product with J^T."""
    spectrum, extra = powered(gram, system.gradient, power)
    direction = system.pull(spectrum.coefficients)
    vectors = system.gradient, spectrum.coefficients
    norm, inner, response = _evaluate_angle(power.dtype, system.gradient.dtype, gram, *vectors)
    cosine = quotient(inner, norm * optax.tree.norm(direction))
    weak = weak_part(gram, spectrum, power, system.pull)
    return Solution(direction, response, spectrum, norm, cosine, extra, weak)


def solution_of(
    direction: Parameters, response: Array, spectrum: GramPower, gradient: Parameters, extra: Info,
    weak: Parameters | None,
) -> Solution:  # fmt: skip
    """Add norm and angle of the gradient, a tree of the direction's structure."""
    norm = optax.tree.norm(gradient)
    inner = jnp.asarray(optax.tree.vdot(direction, gradient))
    cosine = quotient(inner, norm * optax.tree.norm(direction))
    return Solution(direction, response, spectrum, norm, cosine, extra, weak)


def weak_part(
    gram: Array, spectrum: GramPower, power: Power, pull: Callable[[Array], Parameters]
) -> Parameters | None:
    """Return the weak part of a direction if the power is to be split.

    With m = d max(s) for the damping d and the direction V w(S) U^T g it is
    V m^2 / (m^2 + S^2) w(S) U^T g, from the coefficients c of the direction m^2 (G + m^2)^-1 c.
    """
    if not power.split:
        return None
    shift = (power.damping * spectrum.largest) ** 2
    dtype = spectrum.coefficients.dtype
    return pull(_evaluate_shifted(power.dtype, dtype, gram, spectrum.coefficients, shift))


def powered(gram: Array, vector: Array, power: Power) -> tuple[GramPower, Info]:
    """Return gram^((kappa - 1)/2) vector, and whether a rational approximation was given up."""
    if power.shifted is None:
        return decompose(gram, vector, power), {}
    options = power.shifted, power.tau, power.damping, power.dtype
    result, exact = shifted_gram_power(gram, vector, *options)
    return result, {"eigendecomposed": exact}


def decompose(gram: Array, vector: Array, power: Power) -> GramPower:
    """Return gram^((kappa - 1)/2) vector, with the cutoff or damping of `power`."""
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
def _evaluate_shifted(gram: Array, c: Array, shift: Array) -> Array:
    """Return shift (G + shift I)^-1 c, and 0 for G = 0."""
    shift = jnp.where(shift > 0, shift, 1)
    root = jnp.linalg.cholesky(gram + shift * jnp.eye(len(gram), dtype=gram.dtype))
    return shift * jax.scipy.linalg.cho_solve((root, True), c)


@evaluated_in
def _evaluate_angle(gram: Array, g: Array, c: Array) -> tuple[Array, Array, Array]:
    """Return |J^T g|, the inner product of J^T g and J^T c, and J J^T c."""
    product = jnp.matmul(gram, g, precision=HIGHEST)
    norm = jnp.sqrt(jnp.maximum(g @ product, 0))
    return norm, c @ product, jnp.matmul(gram, c, precision=HIGHEST)


def quotient(a: Array, b: Array) -> Array:
    """Return a / b, and 0 where b is 0."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), jnp.where(jnp.isnan(b), b, 0))
