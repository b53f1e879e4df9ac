"""How the power of a Gram matrix is computed: exactly by its eigenvectors, or approximately.

`eigh` is exact. `rational` replaces the eigendecomposition by Cholesky factorisations of shifted
matrices (`physopt.numerics.shifted`): the relative error of the direction is at most `tolerance`,
and the time a fraction if n is large. A hard cutoff is a jump, which no rational function
approximates: if a singular value lies below the cutoff, `rational` detects it and uses the
eigendecomposition in this update.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.polynomial.polynomial import polyval

from physopt.numerics.rational import Rational, rational_power
from physopt.numerics.shifted import MARGIN, ShiftedPower, resolution

Decomposition = Literal["auto", "eigh", "rational"]

LEAST_OUTPUTS = 512
"""Smallest n for which `auto` considers the approximation; below, either takes milliseconds."""


class Spectrum(NamedTuple):
    """What the decomposition of a Gram matrix depends on, apart from its size."""

    decomposition: Decomposition = "auto"
    kappa: float = -0.5
    tau: float = 1e-5
    absolute: bool = False
    damping: float = 0.0  # lower bound that is known before the update
    varies: bool = False  # whether the damping is only known during the update
    tolerance: float = 1e-3
    dtype: str = "float64"
    platform: str = "cpu"


# Seconds of one factorisation [n, n] in float64, coefficients of 1, n, n^2, n^3. gpu: NVIDIA H100,
# n = 512, 1,024 and 4,096. cpu: one core with OpenBLAS, n = 1,024, 2,048 and 4,096. A Cholesky
# factorisation includes the shift and the solve, which are limited by memory.
EIGH = {"gpu": (0, 1.07e-5, 0, 1.2e-12), "cpu": (0, 0, 0, 4.2e-10)}
CHOLESKY = {"gpu": (1.5e-4, 1.3e-7, 0, 2.4e-14), "cpu": (0, 0, 2e-8, 2e-11)}


def operations(spectrum: Spectrum, n: int) -> float:
    """Return the cost of a power [n, n] in operations of an eigendecomposition, 10 n^3 each."""
    shifted = shifted_power(spectrum, n)
    return 10.0 * n**3 * (1 if shifted is None else share(spectrum, n, shifted))


def share(spectrum: Spectrum, n: int, shifted: ShiftedPower) -> float:
    """Return the time of the approximation over that of an eigendecomposition."""
    platform = spectrum.platform if spectrum.platform in EIGH else "cpu"
    cholesky, eigh = polyval(n, CHOLESKY[platform]), polyval(n, EIGH[platform])
    # The largest eigenvalue costs about as much as one factorisation.
    return float((1 + factorisations(shifted)) * cholesky / eigh)


def factorisations(shifted: ShiftedPower) -> int:
    """Count Cholesky factorisations of an update: one per term, and the proof."""
    return 1 + len(shifted.rational.shifts)


def shifted_power(spectrum: Spectrum, n: int) -> ShiftedPower | None:
    """Return the approximation to use, None for an eigendecomposition."""
    if spectrum.decomposition == "eigh" or unsuitable(spectrum) is not None:
        return None
    if spectrum.decomposition == "auto" and (n < LEAST_OUTPUTS or spectrum.platform not in EIGH):
        return None
    together = spectrum.platform == "gpu"
    shifted = ShiftedPower(_rational(spectrum, n), spectrum.tolerance, together)
    if spectrum.decomposition == "auto" and share(spectrum, n, shifted) >= 1:
        return None
    return shifted


def unsuitable(spectrum: Spectrum) -> str | None:
    """Return why there is no rational approximation, None if there is one."""
    if not -1 <= spectrum.kappa <= 1:
        return f"kappa={spectrum.kappa:g} is outside [-1, 1]"
    if spectrum.absolute and not (spectrum.damping or spectrum.varies):
        return "the ratio of an absolute cutoff to the largest singular value is unknown"
    return None


def _rational(spectrum: Spectrum, n: int) -> Rational:
    """Return the approximation on the interval that the cutoff or the damping leaves."""
    least = resolution(n, np.dtype(spectrum.dtype))
    exponent = (1 - spectrum.kappa) / 2
    if spectrum.varies:
        return rational_power(exponent, least, 0.9 * spectrum.tolerance)
    if spectrum.damping:
        # The rest of the tolerance covers the estimate of the largest eigenvalue.
        shift = spectrum.damping**2
        least = max(least, 0.9 * shift / (MARGIN + shift))
        return rational_power(exponent, least, 0.9 * spectrum.tolerance)
    return rational_power(exponent, max(least, spectrum.tau**2), spectrum.tolerance)


def describe(spectrum: Spectrum, n: int, shifted: ShiftedPower | None) -> str:
    """Return how the power is computed, and its error."""
    if shifted is None:
        return "powers by an eigendecomposition"
    cause = "rounding noise" if spectrum.damping or spectrum.varies else "the cutoff"
    error = f"direction error below {spectrum.tolerance:g}"
    if spectrum.platform in EIGH:
        percent = 100 * share(spectrum, n, shifted)
        error += f", about {percent:.0f} % of the time of an eigendecomposition"
    return (
        f"powers by {factorisations(shifted)} shifted Cholesky factorisations ({error}), or by an "
        f"eigendecomposition if a singular value is below {cause}"
    )
