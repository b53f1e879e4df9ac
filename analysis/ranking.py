"""Ranking: methods compared with the best one by paired errors, a pair for each seed.

The logarithm of the ratio of two errors has a mean and, over seeds, a standard deviation s. With n
seeds the interval of the mean is +- t s / sqrt(n), with Student's t at a level of 5 % divided by
the number of comparisons (Bonferroni). Infinity is the error of a run that failed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from physopt.analysis.statistics import quantile

LEVEL = 0.05
"""Probability that any of the intervals misses, if the logarithms are normally distributed."""

MOST_SEEDS = 100
"""Largest number of seeds that `Standing.seeds_needed` considers."""

_FEWEST_FAILURES = 3


class Standing(NamedTuple):
    """A method in the ranking."""

    method: str
    median: float
    """Of its errors; infinite if most runs failed."""
    failed: int
    seeds: int
    ratio: float = 1.0
    """Geometric mean of its error divided by the best method's; infinite if most runs failed."""
    low: float = np.nan
    high: float = np.nan
    """Interval of the ratio; NaN for the best method and for fewer than two pairs."""
    sure: bool = False
    """Whether it is farther from the solution than the best method beyond chance."""
    seeds_needed: int | None = None
    """Seeds with which the interval would exclude 1 if mean and deviation stay as they are; None if
    sure, or if more than MOST_SEEDS are needed."""


def rank(errors: Mapping[str, ArrayLike]) -> list[Standing]:
    """Return the standings of methods from {method: its error for each seed}, best first.

    All methods have the same seeds in the same order. The order is that of the geometric means of
    the errors that are finite; methods of which most runs failed come last.
    """
    medians = {method: float(quantile(values, 0.5)) for method, values in errors.items()}
    order = sorted(errors, key=lambda m: (not np.isfinite(medians[m]), _mean_log(errors[m])))
    if not order:
        return []
    best, *others = order
    standings = [_standing(best, errors[best], medians[best])]
    for method in others:
        standing = _standing(method, errors[method], medians[method])
        standings.append(_compared(standing, errors[method], errors[best], LEVEL / len(others)))
    return standings


def verdict(
    standings: Sequence[Standing], seconds: str, reference: str, others: Sequence[str] = ()
) -> str:
    """Return the ranking as one sentence.

    seconds: the training time, with its unit. reference: the method with which the best one is
    compared, if it is in the ranking; otherwise it is the second. others: clauses on methods that
    are not in the ranking.
    """
    finite = [standing for standing in standings if np.isfinite(standing.median)]
    if not finite:
        return "; ".join(["no rule reached the end of its training time", *others])
    best, rest = finite[0], list(standings[1:])
    rival = next((s for s in rest if s.method == reference), rest[0] if rest else None)
    if rival is None:
        return "; ".join([f"{best.method} is the only rule left after {seconds}", *others])
    clauses = [f"{best.method}: {_clause(rival)} after {seconds}, {_certainty(rival)}"]
    behind = [s for s in rest if s is not rival]
    clauses += [f"{s.method} {_farther(s)}" for s in behind if s.sure]
    equal = [s.method for s in behind if not s.sure]
    clauses += [f"{' and '.join(equal)} not distinguishable"] if equal else []
    return "; ".join([*clauses, *others])


def seeds_to_be_sure(standings: Sequence[Standing]) -> tuple[int | None, list[str]]:
    """Return the seeds with which all comparisons that can be made sure would be, and the rest.

    The number is None if no comparison would become sure; the rest are the methods that would stay
    indistinguishable from the best one with MOST_SEEDS.
    """
    unsure = [s for s in standings[1:] if not s.sure]
    needed = [s.seeds_needed for s in unsure if s.seeds_needed is not None]
    return max(needed, default=None), [s.method for s in unsure if s.seeds_needed is None]


def _standing(method: str, values: ArrayLike, median: float) -> Standing:
    finite = np.isfinite(np.asarray(values, float))
    return Standing(method, median, int(np.sum(~finite)), len(finite))


def _compared(standing: Standing, values: ArrayLike, best: ArrayLike, level: float) -> Standing:
    """Add the comparison with the best method at one level."""
    a, b = _positive(best), _positive(values)
    if not np.isfinite(standing.median):
        sure = standing.failed == standing.seeds >= _FEWEST_FAILURES and bool(np.isfinite(a).all())
        return standing._replace(ratio=np.inf, sure=sure)
    both = np.isfinite(a) & np.isfinite(b)
    logs = np.log(b[both]) - np.log(a[both])
    if len(logs) < 2:
        return standing._replace(ratio=float(np.exp(logs.mean())) if len(logs) else np.nan)
    mean, deviation = float(logs.mean()), float(logs.std(ddof=1))
    half = _half_width(deviation, len(logs), level)
    low, high = (float(np.exp(mean + sign * half)) for sign in (-1, 1))
    compared = standing._replace(ratio=float(np.exp(mean)), low=low, high=high, sure=low > 1)
    if compared.sure:
        return compared
    counts = range(len(logs) + 1, MOST_SEEDS + 1)
    enough = (n for n in counts if _half_width(deviation, n, level) < mean)
    return compared._replace(seeds_needed=next(enough, None))


def _positive(values: ArrayLike) -> np.ndarray:
    """Return errors whose logarithms exist: an exact solution counts as the smallest number."""
    return np.maximum(np.asarray(values, float), np.finfo(np.float32).tiny)


def _mean_log(values: ArrayLike) -> float:
    """Return the mean logarithm of the finite errors, infinite if there is none."""
    logs = np.log(_positive(values))
    return float(logs[np.isfinite(logs)].mean()) if np.isfinite(logs).any() else np.inf


def _half_width(deviation: float, count: int, level: float) -> float:
    return float(stats.t.ppf(1 - level / 2, count - 1)) * deviation / count**0.5


def _clause(rival: Standing) -> str:
    if not np.isfinite(rival.ratio):
        return f"{rival.method} fails"
    if not rival.ratio > 1:  # of the seeds that both completed
        return f"as near as {rival.method}"
    return f"{rival.ratio:.2g} times nearer than {rival.method}"


def _farther(standing: Standing) -> str:
    return "fails" if not np.isfinite(standing.ratio) else f"{standing.ratio:.2g} times farther"


def _certainty(rival: Standing) -> str:
    return "sure" if rival.sure else "not sure"
