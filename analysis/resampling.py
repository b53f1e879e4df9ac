"""Resampling: the curves of several seeds on one common axis, and their quantiles."""

from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import cold_compilation, cost
from physopt.analysis.fairness import UNFINISHED, apart
from physopt.analysis.statistics import quantile
from physopt.analysis.targets import metric_column, values_of
from physopt.records.status import FAILED, RESULTS, shown_status


def quantile_name(low: float, high: float) -> str:
    """Return the name of the band between two quantiles."""
    names = {(0.25, 0.75): "quartiles", (0.0, 1.0): "smallest to largest"}
    return names.get((low, high), f"{100 * low:g} to {100 * high:g} % of runs")


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
    logarithm if all values are positive; it is constant while a program is compiled. A completed
    run keeps its last value; a failed one is infinite from its failure on, so a median over mostly
    failed runs ends; an unfinished one contributes up to its last evaluation. All runs of the frame
    are drawn, each device of a method as a method of its own. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    measured = _measured(comparison, metric).dropna(subset=["cost", "value"])
    tables = []
    for (case, name), of_case in measured.groupby(["case", "metric"], sort=False):
        grid = _grid(of_case, points)
        logarithmic = bool((of_case["value"] > 0).all())
        for method, group in of_case.groupby("method"):
            inside = grid[grid <= group["cost"].max()]
            curves = [_on_grid(run, inside, logarithmic) for _, run in group.groupby("folder")]
            low_curve, median, high_curve = (quantile(curves, q) for q in (low, 0.5, high))
            table = {"case": case, "method": method, "metric": name, "cost": inside}
            table |= {"low": low_curve, "median": median, "high": high_curve}
            tables.append(pd.DataFrame({**table, "runs": np.sum(~np.isnan(curves), axis=0)}))
    columns = ["case", "method", "metric", "cost", "low", "median", "high", "runs"]
    result = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    result.attrs = dict(comparison.frame.attrs)
    return result


def _measured(comparison: Comparison, metric: str | None) -> pd.DataFrame:
    """Return all evaluations with the columns cost, metric and value; devices stay apart."""
    frame = apart(comparison.frame)
    names = {case: metric or metric_column(group) for case, group in frame.groupby("case")}
    measured = frame[["case", "method", "seed", "status", "reason", "folder"]].assign(
        cost=cost(frame, comparison.axis, comparison.compile_time),
        metric=frame["case"].map(names),
        value=np.nan,
    )
    for name in measured["metric"].unique():
        values = values_of(frame, name)
        measured["value"] = measured["value"].mask(measured["metric"] == name, values)
    measured["compiled"] = False
    if comparison.axis == "seconds" and comparison.compile_time:
        compilation = cold_compilation(frame)
        return _compiled(measured.reset_index(drop=True), compilation.reset_index(drop=True))
    return measured


def _compiled(measured: pd.DataFrame, compilation: pd.Series) -> pd.DataFrame:
    """Add a row at the end of each compilation, which has changed nothing but the cost.

    compilation: seconds up to each row. A run compiles between its first two evaluations, and again
    each time it is resumed.
    """
    of_run = measured.groupby("folder", sort=False)
    seconds = compilation.groupby(measured["folder"], sort=False).diff()
    before = of_run[["cost", "value"]].shift().assign(compiled=True)
    ends = measured.assign(**before)[seconds > 0]
    ends["cost"] += seconds[seconds > 0]
    # Both keep the label of the evaluation that follows; the end of the compilation is the first.
    return pd.concat([ends, measured]).sort_index(kind="stable")


def _grid(frame: pd.DataFrame, points: int) -> np.ndarray:
    """Return costs for a linear and a logarithmic axis, with the end of each method and the ends
    of compilations.
    """
    ends = frame.groupby("method")["cost"].max().to_numpy()
    positive = frame.loc[frame["cost"] > 0, "cost"]
    parts = [np.linspace(0, ends.max(), points // 2), ends, frame.loc[frame["compiled"], "cost"]]
    if len(positive):
        parts.append(np.geomspace(positive.min(), ends.max(), points // 2))
    return np.unique(np.concatenate(parts))


def _on_grid(run: pd.DataFrame, grid: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Interpolate a run, or its logarithm, at the costs of a grid; NaN before its start."""
    costs, values = run["cost"].to_numpy(float), run["value"].to_numpy(float)
    status = run["status"].iloc[0]
    after = np.inf if status in FAILED else np.nan if status in UNFINISHED else values[-1]
    if logarithmic:
        between = np.exp(np.interp(grid, costs, np.log(values), left=np.nan))
    else:
        between = np.interp(grid, costs, values, left=np.nan)
    return np.where(grid > costs[-1], after, between)


def endpoints(
    runs: Runs, axis: str | None = None, *, metric: str | None = None, **options: Any
) -> pd.DataFrame:
    """Return where failed, refused and unfinished runs ended: one row per run.

    Columns folder, case, method, seed, status, reason, cost, value: the total cost and the last
    finite value. Both are missing if there is none: a run that was refused or failed at once.
    `options` are those of `Comparison`.
    """
    measured = _measured(Comparison.of(runs, axis=axis, **options), metric)
    runs_at_end = measured[~measured["status"].isin(RESULTS)].groupby("folder", sort=False)
    settings = dict.fromkeys(["case", "method", "seed", "status", "reason"], "first")
    ends = runs_at_end.agg({**settings, "cost": "max", "value": "last"}).reset_index()
    return ends.assign(cost=ends["cost"].where(ends["value"].notna()))


def without_point(ends: pd.DataFrame) -> list[str]:
    """Return the runs of `endpoints` that have no value, counted by method and status."""
    lost = ends[ends["value"].isna()]
    lost = lost.assign(status=lost["status"].map(shown_status))
    counts = lost.groupby(["method", "status"]).size()
    return [f"{method}: {count} {status}" for (method, status), count in counts.items()]
