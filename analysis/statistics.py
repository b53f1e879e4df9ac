"""Statistics: quantiles with infinity, bootstrap intervals, paired tests, Holm.

Infinity stands for an event that never occurred: a target not reached, the error of a run that
failed at once.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 2000
SEED = 20109


def quantile(values: ArrayLike, q: float, axis: int = 0) -> np.ndarray:
    """Return a quantile by linear interpolation, in which infinity stays infinity.

    NaN is a missing value and is ignored; the result is NaN if all values are missing.
    """
    ordered = np.sort(np.moveaxis(np.asarray(values, float), axis, 0), axis=0)  # NaN last
    count = np.sum(~np.isnan(ordered), axis=0)
    position = q * np.maximum(count - 1, 0)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, np.maximum(count - 1, 0))
    weight = position - below
    low = np.take_along_axis(ordered, below[None], 0)[0]
    high = np.take_along_axis(ordered, above[None], 0)[0]
    with np.errstate(invalid="ignore"):
        between = low + weight * (high - low)
    return np.where((weight == 0) | (low == high), low, np.where(np.isinf(high), high, between))


def median_interval(values: ArrayLike) -> tuple[float, float, float]:
    """Return (median, low, high) with a percentile bootstrap interval.

    Positions in the sorted values are resampled instead of values, and the ends are rounded
    outwards to observed values, so infinity is allowed. One value has no interval: NaN.
    """
    ordered = np.sort(np.asarray(values, float))
    if len(ordered) == 0:
        return np.nan, np.nan, np.nan
    median = float(quantile(ordered, 0.5))
    if len(ordered) == 1:
        return median, np.nan, np.nan
    low, high = _bootstrap([np.arange(len(ordered), dtype=float)], np.median)
    return median, float(ordered[int(np.floor(low))]), float(ordered[int(np.ceil(high))])


def mean_interval(values: ArrayLike) -> tuple[np.ndarray, ...]:
    """Return (mean, low, high) over the last axis, with a percentile bootstrap interval.

    The rows are resampled together. One value has no interval: NaN.
    """
    values = np.asarray(values, float)
    mean = values.mean(axis=-1)
    if values.shape[-1] == 1:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    low, high = _bootstrap([values], np.mean)
    return mean, low, high


def ratio_interval(
    first: ArrayLike, second: ArrayLike, *, paired: bool
) -> tuple[float, float, float]:
    """Return second / first of the geometric means, with a percentile bootstrap interval.

    Paired values are resampled in pairs. All values must be positive and finite. One value on a
    side has no interval: NaN.
    """
    a, b = np.log(np.asarray(first, float)), np.log(np.asarray(second, float))
    ratio = float(np.exp(b.mean() - a.mean()))
    if min(len(a), len(b)) == 1:
        return ratio, np.nan, np.nan
    if paired:
        low, high = _bootstrap([b - a], np.mean)
    else:
        low, high = _bootstrap(
            [a, b], lambda x, y, axis: np.mean(y, axis=axis) - np.mean(x, axis=axis)
        )
    return ratio, float(np.exp(low)), float(np.exp(high))


def _bootstrap(
    samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the 95 % percentile interval of a statistic over the last axis of the samples."""
    result = stats.bootstrap(
        samples, statistic, axis=-1, n_resamples=RESAMPLES, method="percentile", vectorized=True,
        rng=np.random.default_rng(SEED),
    )  # fmt: skip
    return result.confidence_interval.low, result.confidence_interval.high


def wilcoxon(differences: ArrayLike) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test.

    Infinite differences rank highest. The p-value is 1 if no pair differs.
    """
    differences = np.asarray(differences, float)
    differences = differences[~np.isnan(differences)]
    if not np.any(differences):
        return 1.0
    # The test depends on signs and the order of magnitudes alone, and rejects infinity.
    finite = np.abs(differences[np.isfinite(differences)])
    largest = 2 * finite.max() if finite.size and finite.max() > 0 else 1.0
    _, pvalue = stats.wilcoxon(np.clip(differences, -largest, largest))
    return float(np.asarray(pvalue))


def holm(pvalues: ArrayLike) -> np.ndarray:
    """Return p-values corrected for multiple tests: the k-th smallest of m times m - k + 1, made
    monotonic and at most 1.

    Source: S. Holm, Scand. J. Statist. 6, 65 (1979).
    """
    pvalues = np.asarray(pvalues, float)
    order = np.argsort(pvalues)
    factors = np.arange(len(pvalues), 0, -1)
    corrected = np.empty_like(pvalues)
    corrected[order] = np.minimum(1, np.maximum.accumulate(pvalues[order] * factors))
    return corrected
