"""Profiles: one curve a method, over all targets of all cases."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from physopt.analysis.fairness import comparable
from physopt.analysis.scores import PENALTY, penalised_times
from physopt.analysis.targets import hitting_times


def performance_profile(
    frame: pd.DataFrame,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    per_decade: int = 5,
    penalty: float = PENALTY,
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """Return for each method the share of targets that it reaches within a factor of the best.

    Columns method, ratio, fraction: fraction is the share of the targets for which the method's
    penalised time (see `time_to_target`) is at most ratio times that of the fastest method. All
    cases weigh the same, whatever the number of their targets. A target that no run of a method
    reached is never solved by it, one that nobody reached (the problem's own may be) by nobody.

    Source: E. Dolan, J. More, Math. Program. 91, 201 (2002).
    """
    hits = hitting_times(
        comparable(frame, allow), axis, compile_time=compile_time, per_decade=per_decade
    )
    table = penalised_times(hits, penalty).unstack("method")
    table = table.fillna(np.inf)
    weights = 1 / table.groupby("case").transform("size") / table.index.unique("case").size
    best = table.min(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = table.div(best, axis=0).fillna(np.inf)  # nobody: infinity over infinity
    rows = []
    for method in ratios:
        of_method = ratios[method].to_numpy(float)
        rows += _steps(of_method, weights.to_numpy(float), {"method": method}, "ratio", 1.0)
    result = pd.DataFrame(rows, columns=["method", "ratio", "fraction"])
    result.attrs = dict(hits.attrs)
    return result


def ecdf(
    frame: pd.DataFrame,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    per_decade: int = 5,
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """Return for each case and method the share of (run, target) pairs solved by a time.

    Columns case, method, time, fraction; the last row of a method is at the largest time that any
    run of the case spent.
    """
    hits = hitting_times(
        comparable(frame, allow), axis, compile_time=compile_time, per_decade=per_decade
    )
    rows = []
    for case, of_case in hits.groupby("case", sort=False):
        end = float(of_case["spent"].max())
        for method, group in of_case.groupby("method", sort=False):
            weights = np.full(len(group), 1 / len(group))
            told = {"case": case, "method": method}
            steps = _steps(group["time"].to_numpy(float), weights, told, "time", 0.0)
            rows += [*steps, {**steps[-1], "time": end}]
    result = pd.DataFrame(rows, columns=["case", "method", "time", "fraction"])
    result.attrs = dict(hits.attrs)
    return result


def _steps(
    values: np.ndarray, weights: np.ndarray, told: dict[str, object], name: str, start: float
) -> list[dict[str, object]]:
    """Return the corners of a weighted cumulative distribution, from `start` on."""
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    places, last = np.unique(values[order][::-1], return_index=True)
    shares = np.cumsum(weights[order])[len(order) - 1 - last] if len(order) else []
    corners = [(start, 0.0)] if len(places) == 0 or places[0] > start else []
    corners += list(zip(places, shares, strict=True))
    return [{**told, name: float(x), "fraction": float(y)} for x, y in corners]
