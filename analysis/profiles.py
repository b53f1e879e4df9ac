"""Profiles: one curve per method, over all targets of all cases."""

from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.targets import penalised_times


def performance_profile(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return for each method the share of targets that it reaches within a factor of the best.

    Columns method, ratio, fraction: fraction is the share of the targets for which the method's
    penalised time (see `time_to_target`) is at most ratio times that of the fastest method. All
    cases have the same weight, whatever their number of targets. A method solves no target that
    none of its runs reached. `options` are those of `Comparison`.

    Source: E. Dolan, J. More, Math. Program. 91, 201 (2002).
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    table = penalised_times(comparison.hits, comparison.penalty).unstack("method")
    table = table.fillna(np.inf)
    weights = 1 / table.groupby("case").transform("size") / table.index.unique("case").size
    best = table.min(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = table.div(best, axis=0).fillna(np.inf)  # infinity / infinity: no method reached it
    rows = []
    for method in ratios:
        of_method = ratios[method].to_numpy(float)
        rows += _steps(of_method, weights.to_numpy(float), {"method": method}, "ratio", 1.0)
    result = pd.DataFrame(rows, columns=["method", "ratio", "fraction"])
    result.attrs = dict(comparison.runs.attrs)
    return result


def ecdf(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return for each case and method the share of (run, target) pairs solved by a time.

    Columns case, method, time, fraction; the last row of a method is at the largest cost of any run
    on the case. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    rows = []
    for case, of_case in comparison.hits.groupby("case", sort=False):
        end = float(of_case["spent"].max())
        for method, group in of_case.groupby("method", sort=False):
            weights = np.full(len(group), 1 / len(group))
            keys = {"case": case, "method": method}
            steps = _steps(group["time"].to_numpy(float), weights, keys, "time", 0.0)
            rows += [*steps, {**steps[-1], "time": end}]
    result = pd.DataFrame(rows, columns=["case", "method", "time", "fraction"])
    result.attrs = dict(comparison.runs.attrs)
    return result


def _steps(
    values: np.ndarray, weights: np.ndarray, keys: dict[str, object], name: str, start: float
) -> list[dict[str, object]]:
    """Return the corners of a weighted cumulative distribution, beginning at `start`."""
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    places, last = np.unique(values[order][::-1], return_index=True)
    shares = np.cumsum(weights[order])[len(order) - 1 - last] if len(order) else []
    corners = [(start, 0.0)] if len(places) == 0 or places[0] > start else []
    corners += list(zip(places, shares, strict=True))
    return [{**keys, name: float(x), "fraction": float(y)} for x, y in corners]
