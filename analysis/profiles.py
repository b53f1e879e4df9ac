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
    times = penalised_times(comparison.hits, comparison.penalty).unstack("method").fillna(np.inf)
    weights = 1 / times.groupby("case").transform("size") / times.index.unique("case").size
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = times.div(times.min(axis=1), axis=0)  # NaN is infinity / infinity: never reached
    steps = [
        _steps(ratios[method], weights, "ratio", start=1.0).assign(method=method)
        for method in ratios
    ]
    columns = ["method", "ratio", "fraction"]
    result = (
        pd.concat(steps, ignore_index=True)[columns] if steps else pd.DataFrame(columns=columns)
    )
    result.attrs = dict(comparison.runs.attrs)
    return result


def ecdf(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return for each case and method the share of (run, target) pairs solved by a time.

    Columns case, method, time, fraction; the last row of a method is at the largest cost of any run
    on the case. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    tables = []
    for case, of_case in comparison.hits.groupby("case", sort=False):
        for method, group in of_case.groupby("method", sort=False):
            weights = pd.Series(1 / len(group), group.index)
            steps = _steps(group["time"], weights, "time", start=0.0)
            end = steps.iloc[[-1]].assign(time=float(of_case["spent"].max()))
            tables.append(pd.concat([steps, end]).assign(case=case, method=method))
    columns = ["case", "method", "time", "fraction"]
    result = (
        pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
    )
    result.attrs = dict(comparison.runs.attrs)
    return result


def _steps(values: pd.Series, weights: pd.Series, name: str, start: float) -> pd.DataFrame:
    """Return the corners of a weighted cumulative distribution, beginning at `start`."""
    reached = values[np.isfinite(values)]
    shares = weights[reached.index].groupby(reached).sum().cumsum()
    if start not in shares.index:
        shares = pd.concat([pd.Series({start: 0.0}), shares])
    return shares.rename_axis(name).rename("fraction").reset_index()
