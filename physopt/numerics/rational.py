"""Rational approximation of x^-a on an interval, with the smallest relative error.

    x^-a ~ constant + sum_j weights_j / (x + shifts_j),    0 < a < 1, least <= x <= 1,

so that a fractional power of a symmetric positive definite matrix costs one Cholesky factorisation
of a shifted matrix per term. The relative error in every eigenvalue, hence in J^T A^-a g for any J
with A = J J^T and any g, is at most `error`. With N terms it falls like
exp(-2 pi^2 N / log(16 / least)): 8 terms reach 1.2e-4 for least = 1e-6 and a = 3/4, 10 terms 1e-3
for 1e-10.
A quadrature of the Balakrishnan integral x^-a = sin(pi a)/pi int_0^inf t^-a / (t + x) dt has the
same form and needs about three times as many terms.

Source: H. Stahl, Acta Math. 190, 241 (2003), doi 10.1007/BF02392691 (best approximation of x^a);
N. Hale, N. Higham, L. Trefethen, SIAM J. Numer. Anal. 46, 2505 (2008), doi 10.1137/070700607
(powers of matrices from shifted systems).
"""

import functools
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ellipj, ellipkm1

MOST_TERMS = 24


class Rational(NamedTuple):
    """constant + sum_j weights_j / (x + shifts_j) ~ x^-exponent for least <= x <= 1."""

    exponent: float
    least: float
    constant: float
    shifts: tuple[float, ...]
    weights: tuple[float, ...]
    error: float  # largest relative error on the interval

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Evaluate the approximation."""
        terms = zip(self.weights, self.shifts, strict=True)
        return sum((w / (x + t) for w, t in terms), np.full_like(x, self.constant))


@functools.cache
def rational_power(exponent: float, least: float, tolerance: float) -> Rational:
    """Return the approximation of x^-exponent with the fewest terms and error <= tolerance.

    Exponents 0 and 1 are exact, with no term and with the single term 1 / x.
    Raises ValueError for other exponents outside (0, 1), for least outside (0, 1), and if
    MOST_TERMS do not reach the tolerance.
    """
    if exponent in (0, 1):
        shifts = (0.0,) * int(exponent)
        return Rational(exponent, least, 1.0 - exponent, shifts, (1.0,) * len(shifts), 0.0)
    if not (0 < exponent < 1 and 0 < least < 1):
        raise ValueError(f"expected exponent and least in (0, 1), got {exponent} and {least}")
    length = -np.log(least)
    # Fewer terms, with an error of about 0.2 exp(-2 pi^2 N / log(16 / least)), need not be tried.
    first = max(1, int(np.log(0.2 / tolerance) * (length + np.log(16)) / (2 * np.pi**2)))
    for count in range(first, MOST_TERMS + 1):
        curve = _Curve(exponent, length, count)
        parameters = _equal_extrema(curve, _least_squares(curve))
        error = float(np.max(np.abs(curve.error(parameters, curve.fine()))))
        if error <= tolerance:
            # x = least e^y: powers of `least` convert shifts and weights.
            scale = least ** (1 - exponent)
            shifts = least * np.exp(parameters[:count])
            weights = scale * np.exp(parameters[count:-1])
            constant = float(np.exp(parameters[-1])) * least**-exponent
            return Rational(
                exponent, least, constant, tuple(shifts.tolist()), tuple(weights.tolist()), error
            )
    raise ValueError(
        f"{MOST_TERMS} terms do not reach a relative error of {tolerance:g} for x^-{exponent:g} "
        f"between {least:g} and 1"
    )


class _Curve(NamedTuple):
    """Relative error of the approximation in y = log(x / least), 0 <= y <= length.

    Its parameters are the logarithms of the shifts, the weights and the constant: all are positive
    in the best approximation, and their logarithms are nearly evenly spaced.
    """

    exponent: float
    length: float
    terms: int

    def grid(self) -> np.ndarray:
        points = 40 * (self.terms + 1)
        return self.length * (1 - np.cos(np.linspace(0, np.pi, points))) / 2

    def fine(self) -> np.ndarray:
        return np.linspace(0, self.length, 1000 * (self.terms + 1))

    def start(self) -> np.ndarray:
        """Return Zolotarev's shifts, which are the best ones for a = 1/2, and weights for them.

        The shifts are sn^2 / cn^2 at odd multiples of K / (2 terms + 1), with elliptic functions of
        parameter 1 - least. The weights are those of the Balakrishnan integral's midpoint rule, and
        the constant is its remainder.
        """
        least = np.exp(-self.length)
        points = np.arange(1, 2 * self.terms, 2) / (2 * self.terms + 1) * ellipkm1(least)
        sn, cn, *_ = ellipj(points, 1 - least)
        shifts = np.log(sn**2 / cn**2)
        a, gaps = self.exponent, np.gradient(shifts) if self.terms > 1 else np.full(1, self.length)
        factor = np.log(np.sin(np.pi * a) / np.pi)
        weights = factor + np.log(gaps) + (1 - a) * shifts
        remainder = factor - np.log(a) - a * (shifts[-1] + gaps[-1] / 2)
        return np.concatenate([shifts, weights, [remainder]])

    def error(self, parameters: np.ndarray, y: np.ndarray) -> np.ndarray:
        each, constant, _ = self._each(parameters, y)
        return each.sum(axis=1) + constant - 1

    def slope(self, parameters: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the derivative of the error in the parameters, [points, 2 terms + 1]."""
        each, constant, share = self._each(parameters, y)
        return np.column_stack([-each * share, each, constant])

    def _each(
        self, parameters: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return each term and the constant, relative to x^-a, and t / (x + t)."""
        shifts, weights = parameters[: self.terms], parameters[self.terms : -1]
        a, y = self.exponent, y[:, None]
        total = np.logaddexp(y, shifts)
        each = np.exp(a * y + weights - total)
        return each, np.exp(a * y[:, 0] + parameters[-1]), np.exp(shifts - total)


def _least_squares(curve: _Curve) -> np.ndarray:
    y = curve.grid()
    slope: Any = curve.slope  # which SciPy's annotations do not allow for
    options = {"method": "lm", "ftol": 1e-9, "xtol": 1e-12, "max_nfev": 400}
    return least_squares(curve.error, curve.start(), slope, args=(y,), **options).x


def _equal_extrema(curve: _Curve, parameters: np.ndarray) -> np.ndarray:
    """Make the 2 terms + 2 extrema of the error equal, by Remez's exchange algorithm.

    Returns the parameters as they are if the error has fewer extrema.
    """
    y = curve.grid()
    for _ in range(10):
        error = curve.error(parameters, y)
        between = np.flatnonzero(np.diff(np.sign(error))) + 1
        pieces = np.split(np.arange(len(y)), between)
        peaks = np.array([piece[np.argmax(np.abs(error[piece]))] for piece in pieces])
        sizes = np.abs(error[peaks])
        if len(peaks) != 2 * curve.terms + 2 or sizes.max() < 1.01 * sizes.min():
            break
        signs = np.sign(error[peaks])
        for _ in range(2):  # Newton's method for error = sign * size at the peaks
            at_peaks = curve.error(parameters, y[peaks])
            matrix = np.column_stack([curve.slope(parameters, y[peaks]), -signs])
            parameters = parameters + np.clip(np.linalg.solve(matrix, -at_peaks)[:-1], -0.5, 0.5)
    return parameters
