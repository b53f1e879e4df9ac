"""Resampling: the curves of several seeds on one common axis, and their quantiles."""

from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import cost
from physopt.analysis.fairness import UNFINISHED, apart
from physopt.analysis.statistics import quantile
from physopt.analysis.targets import metric_column, values_of
from physopt.records.status import FAILED, RESULTS

QUANTILE_NAMES = {
    (0.25, 0.75): "quartiles",
    (0.0, 1.0): "smallest to largest",
}


def quantile_name(low: float, high: float) -> str:
    """Return the name of the band between two quantiles."""
    return QUANTILE_NAMES.get((low, high), f"{100 * low:g} to {100 * high:g} % of runs")


def resample(
    runs: Runs,
    axis: str | None = None,
    *,
    metric: str | None = None,
    low: float = 0.25,
    high: float = 0.75,
    points: int = 160,
    **options: Any,
) -> pd.DataFrame:
    """Return quantiles over seeds on an axis that all methods of a case share.

    Columns case, method, metric, cost, low, median, high, runs. The metric is by default that of
    the problem's target, on the test set. Between evaluations a curve is interpolated, its
    logarithm if all values are positive. A completed run keeps its last value; a failed one is
    infinite from its failure on, so a median over mostly failed runs ends; an unfinished one
    contributes up to its last evaluation. All runs of the frame are drawn, each device of a method
    as a method of its own. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    frame = _with_cost(comparison)
    kept = ["case", "method", "folder", "status", "cost"]
    tables = []
    for case, of_case in frame.groupby("case", sort=False):
        name = metric or metric_column(of_case)
        shown = (
            of_case[kept].assign(value=values_of(of_case, name)).dropna(subset=["cost", "value"])
        )
        if shown.empty:
            continue
        grid = _grid(shown, points)
        logarithmic = bool((shown["value"] > 0).all())
        for method, group in shown.groupby("method", sort=True):
            runs = [run for _, run in group.groupby("folder", sort=False)]
            values = np.stack([_on_grid(run, grid, logarithmic) for run in runs])
            inside = grid <= group["cost"].max()
            table = {"case": case, "method": method, "metric": name, "cost": grid[inside]}
            for column, q in (("low", low), ("median", 0.5), ("high", high)):
                table[column] = quantile(values[:, inside], q)
            table["runs"] = np.sum(~np.isnan(values[:, inside]), axis=0)
            tables.append(pd.DataFrame(table))
    columns = ["case", "method", "metric", "cost", "low", "median", "high", "runs"]
    result = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    result.attrs = dict(frame.attrs)
    return result


def _with_cost(comparison: Comparison) -> pd.DataFrame:
    """Return all runs, each device of a method as a method of its own, with the column cost."""
    frame = apart(comparison.frame)
    return frame.assign(cost=cost(frame, comparison.axis, comparison.compile_time))


def _grid(frame: pd.DataFrame, points: int) -> np.ndarray:
    """Return costs for a linear and a logarithmic axis, including the end of each method."""
    ends = frame.groupby("method")["cost"].max().to_numpy()
    positive = frame.loc[frame["cost"] > 0, "cost"]
    parts = [np.linspace(0, ends.max(), points // 2), ends]
    if len(positive):
        parts.append(np.geomspace(positive.min(), ends.max(), points // 2))
    return np.unique(np.concatenate(parts))


def _on_grid(run: pd.DataFrame, grid: np.ndarray, logarithmic: bool) -> np.ndarray:
    costs, values = run["cost"].to_numpy(float), run["value"].to_numpy(float)
    status = run["status"].iloc[0]
    after = np.inf if status in FAILED else np.nan if status in UNFINISHED else values[-1]
    if logarithmic:
        between = np.exp(np.interp(grid, costs, np.log(values)))
    else:
        between = np.interp(grid, costs, values)
    between = np.where(grid < costs[0], np.nan, between)
    return np.where(grid > costs[-1], after, between)


def endpoints(
    runs: Runs, axis: str | None = None, *, metric: str | None = None, **options: Any
) -> pd.DataFrame:
    """Return where failed, refused and unfinished runs ended: one row per run.

    Columns case, method, seed, status, reason, folder, cost, value: the total cost and the last
    finite value. Both are missing if there is none: a run that was refused or failed at once.
    `options` are those of `Comparison`.
    """
    frame = _with_cost(Comparison.of(runs, axis=axis, **options))
    kept = ["case", "method", "seed", "status", "reason", "folder", "cost"]
    bad = frame[~frame["status"].isin(RESULTS)]
    rows = []
    for case, of_case in bad.groupby("case", sort=False):
        name = metric or metric_column(frame[frame["case"] == case])
        of_case = of_case[kept].assign(value=values_of(of_case, name))
        for _, run in of_case.groupby("folder", sort=False):
            usable = run["value"].dropna()
            end = (run["cost"].max(), usable.iloc[-1]) if len(usable) else (np.nan, np.nan)
            rows.append({**run.iloc[0].to_dict(), **dict(zip(("cost", "value"), end, strict=True))})
    columns = ["case", "method", "seed", "status", "reason", "folder", "cost", "value"]
    return pd.DataFrame(rows, columns=columns).astype({"cost": float, "value": float})
