"""Scores: time to shared targets with failures penalised, final errors, ranks, and their table."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.statistics import mean_interval, median_interval, quantile
from physopt.analysis.targets import counted_times
from physopt.records.status import FAILED


def time_to_target(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return the cost at which each method reached each target: a row per case, method, target.

    runs, reached        number of runs, and of those that reached the target
    median               of the times, a miss being infinite: infinite if most runs miss
    penalised, low, high mean of the times, a miss counting `penalty` times the largest cost of any
                         run on the case, and its 95 % bootstrap interval over seeds; infinite if no
                         run reached the target

    `options` are those of `Comparison`. Raises OptionError as `comparable` does.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    hits = comparison.hits
    columns = ["case", "metric", "method", "target", "own", "runs", "reached", "median"]
    columns += ["penalised", "low", "high"]
    hits = hits.assign(counted=counted_times(hits, comparison.penalty))
    tables = [pd.DataFrame(columns=columns)] if hits.empty else []
    for (case, method), group in hits.groupby(["case", "method"]):
        table = group.drop_duplicates("target").set_index("target")[["metric", "own"]]
        table = table.sort_index(ascending=False).assign(case=case, method=method)
        times, counted = (
            group.pivot(index="target", columns="folder", values=name).loc[table.index].to_numpy()
            for name in ("time", "counted")
        )
        table["runs"], table["reached"] = times.shape[1], np.isfinite(times).sum(axis=1)
        table["median"] = quantile(times, 0.5, axis=1)
        for name, value in zip(("penalised", "low", "high"), mean_interval(counted), strict=True):
            table[name] = np.where(table["reached"], value, np.inf)
        tables.append(table.reset_index())
    result = pd.concat(tables, ignore_index=True)[columns]
    result.attrs = dict(hits.attrs)
    return result


def final_errors(runs: Runs, allow: Collection[str] | None = None) -> pd.DataFrame:
    """Return the final error of each method: one row per case and method.

    runs, failed         number of runs, and of those that diverged, ran out of memory or time, or
                         crashed
    median, low, high    of the runs' final errors, see `run_errors`, with its 95 % bootstrap
                         interval over seeds
    best                 the smallest of them

    Raises OptionError as `comparable` does.
    """
    comparison = Comparison.of(runs, allow=allow)
    rows = []
    for keys, group in comparison.errors.groupby(["case", "metric", "method"]):
        errors, failed = group["final_error"], group["status"].isin(FAILED).sum()
        rows.append((*keys, len(group), failed, *median_interval(errors), errors.min()))
    columns = ["case", "metric", "method", "runs", "failed", "median", "low", "high", "best"]
    result = pd.DataFrame(rows, columns=columns)
    result.attrs = dict(comparison.runs.attrs)
    return result


def ranks(runs: Runs, allow: Collection[str] | None = None) -> pd.DataFrame:
    """Return the rank of each method on each case by its median final error, and the mean rank.

    Index method, a column for each case and `mean`, best first. Equal errors share their mean rank;
    methods without a run or a finite error on a case share the last one.

    Raises OptionError as `comparable` does.
    """
    comparison = Comparison.of(runs, allow=allow)
    of_method = comparison.errors.groupby(["method", "case"])["final_error"]
    errors = of_method.agg(lambda values: float(quantile(values, 0.5))).unstack()
    ranked = errors.fillna(np.inf).rank()
    ranked["mean"] = ranked.mean(axis=1)
    ranked = ranked.sort_values("mean", kind="stable")
    ranked.attrs = dict(comparison.runs.attrs)
    return ranked


def score_table(runs: Runs, axis: str | None = None, **options: Any) -> pd.DataFrame:
    """Return one row per case and method: final error, and time to one target of the case.

    The columns of `final_errors`, the target, the number of runs that `reached` it, and
    `penalised`, `time_low`, `time_high` as in `time_to_target`. The target is the problem's own if
    a run reached it, else that of `hardest_target`. `budget` is the largest budget of a run on the
    case, NaN if it limits another cost than that of the axis. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    errors, times = final_errors(comparison), time_to_target(comparison)
    at_target = [_at_one_target(of_case) for _, of_case in times.groupby("case", sort=False)]
    at = pd.concat(at_target) if at_target else times
    at = at[["case", "method", "target", "own", "reached", "penalised", "low", "high"]]
    at = at.rename(columns={"low": "time_low", "high": "time_high"})
    table = errors.merge(at, on=["case", "method"], how="left")
    # A case has no target if it names none and no run improved on its initial error.
    table["reached"] = table["reached"].fillna(0).astype(int)
    for name in ("penalised", "time_low", "time_high"):
        table.loc[table["reached"] == 0, name] = np.inf
    table["budget"] = table["case"].map(_budgets(comparison))
    table = table.sort_values(["case", "penalised", "median"], kind="stable", ignore_index=True)
    table.attrs = dict(errors.attrs)
    return table


def _budgets(comparison: Comparison) -> pd.Series:
    """Return the largest budget of each case, NaN if it does not limit the cost of the axis."""
    column = {"seconds": "budget_seconds", "updates": "budget_steps"}.get(comparison.axis)
    if comparison.compile_time:
        column = None
    budgets = comparison.runs[column] if column else np.nan
    return comparison.runs.assign(budget=budgets).groupby("case")["budget"].max()


def _at_one_target(times: pd.DataFrame) -> pd.DataFrame:
    own = times[times["own"].astype(bool)]
    return own if own["reached"].sum() > 0 else hardest_target(times)


def hardest_target(times: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the hardest target that half of the methods reached in most of their runs.

    Those of the easiest target if there is none. times: columns target, runs, reached, with a row
    for each method and target of one case.
    """
    share = (2 * times["reached"] > times["runs"]).groupby(times["target"]).mean()
    usual = share[share >= 0.5]
    return times[times["target"] == (usual.index.min() if len(usual) else share.index.max())]
