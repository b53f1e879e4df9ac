"""Exponential time differencing of fourth order, for stiff linear terms that are diagonal.

u' = L u + N(u) with L diagonal, of Fourier coefficients for example. A step h solves the linear
part exactly and N by a Runge-Kutta scheme of order 4:

    a = e u + q N(u)        b = e u + q N(a)        c = e a + q (2 N(b) - N(u)),   e = exp(h L / 2)
    u <- e^2 u + f1 N(u) + 2 f2 (N(a) + N(b)) + f3 N(c)

The factors q and f are divided differences of the exponential, which cancel for small h L: they are
means over a circle in the complex plane.

Source: S. M. Cox, P. C. Matthews, J. Comput. Phys. 176, 430 (2002); A.-K. Kassam, L. N. Trefethen,
SIAM J. Sci. Comput. 26, 1214 (2005), doi 10.1137/S1064827502410633.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

CIRCLE = 64
"""Points of the means."""


class Factors(NamedTuple):
    """The factors of a step, in float64 or complex128, each of the shape of L."""

    half: np.ndarray  # exp(h L / 2)
    q: np.ndarray
    f1: np.ndarray
    f2: np.ndarray
    f3: np.ndarray


def factors(linear: np.ndarray, step: float) -> Factors:
    """Return the factors of a step of length h for the diagonal L."""
    z = step * linear[..., None] + np.exp(2j * np.pi * (np.arange(CIRCLE) + 0.5) / CIRCLE)
    e = np.exp(z)
    means = (
        np.mean(values, axis=-1)
        for values in (
            (np.exp(z / 2) - 1) / z,
            (-4 - z + e * (4 - 3 * z + z**2)) / z**3,
            (2 + z + e * (z - 2)) / z**3,
            (-4 - 3 * z - z**2 + e * (4 - z)) / z**3,
        )
    )
    real = np.isrealobj(linear)
    return Factors(
        np.exp(step * linear / 2), *(step * (mean.real if real else mean) for mean in means)
    )


def advance(
    factors: Factors, u: jax.Array, nonlinear: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Return u [..., n] after a step; nonlinear(u) is N(u)."""
    wide = u.dtype if np.iscomplexobj(factors.half) else u.real.dtype
    half, q, f1, f2, f3 = (jnp.asarray(factor, wide) for factor in factors)
    at_start = nonlinear(u)
    a = half * u + q * at_start
    at_a = nonlinear(a)
    at_b = nonlinear(half * u + q * at_a)
    at_c = nonlinear(half * a + q * (2 * at_b - at_start))
    return half**2 * u + f1 * at_start + 2 * f2 * (at_a + at_b) + f3 * at_c
