"""Rational approximations of fractional powers: their error, and the least number of terms."""

import numpy as np
import pytest

from physopt.numerics.rational import rational_power


@pytest.mark.parametrize("exponent", [0.05, 0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("least", [0.5, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-3])
def test_the_error_is_the_one_stated_and_oscillates(exponent, least, tolerance):
    rational = rational_power(exponent, least, tolerance)
    x = np.geomspace(least, 1, 200_001)
    error = rational(x) * x**exponent - 1
    assert np.max(np.abs(error)) == pytest.approx(rational.error, rel=1e-3)
    assert rational.error <= tolerance
    assert min(rational.shifts) > 0, "every shifted matrix is positive definite"
    assert min(*rational.weights, rational.constant) > 0, "no cancellation"
    # Chebyshev: with 2 N + 1 parameters, an error of equal size and alternating sign at 2 N + 2
    # points is the least possible one. So no approximation with as many terms is better.
    pieces = np.split(error, np.flatnonzero(np.diff(np.sign(error))) + 1)
    peaks = np.array([np.max(np.abs(piece)) for piece in pieces])
    assert len(peaks) == 2 * len(rational.shifts) + 2
    assert peaks.min() > 0.95 * peaks.max()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-3, 1e-4])
def test_the_number_of_terms(tolerance):
    """The search starts below the answer: exp(-2 pi^2 N / log(16 / least)) is an estimate only."""
    counts = [len(rational_power(0.75, least, tolerance).shifts) for least in (1e-4, 1e-7, 1e-10)]
    assert counts == sorted(counts)
    assert counts == {1e-2: [3, 5, 7], 1e-3: [5, 8, 10], 1e-4: [6, 10, 13]}[tolerance]


@pytest.mark.parametrize(("exponent", "value"), [(0.0, 1.0), (1.0, 4.0)])
def test_whole_exponents_are_exact(exponent, value):
    rational = rational_power(exponent, 1e-10, 1e-3)
    assert rational(np.array([0.25])) == value
    assert rational.error == 0
    assert len(rational.shifts) == exponent


@pytest.mark.parametrize(("exponent", "least"), [(1.5, 0.1), (-0.5, 0.1), (0.5, 0.0), (0.5, 1.0)])
def test_other_powers_and_intervals_are_refused(exponent, least):
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        rational_power(exponent, least, 1e-3)


def test_a_tolerance_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="24 terms do not reach"):
        rational_power(0.5, 1e-300, 1e-4)
