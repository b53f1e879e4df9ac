"""Scores: time to shared targets with failures penalised, final errors, ranks, and their table."""

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from physopt.analysis.fairness import FAILED, comparable
from physopt.analysis.load import runs_of
from physopt.analysis.statistics import mean_interval, median_interval, quantile, rank
from physopt.analysis.targets import hitting_times, metric_column, values_of
from physopt.records.selection import chosen_by

PENALTY = 2.0
"""A run that misses a target counts as this many times the largest budget spent on the problem."""


def time_to_target(
    frame: pd.DataFrame,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    per_decade: int = 5,
    penalty: float = PENALTY,
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """Return how soon each method reached each target: one row per case, method and target.

    runs, reached        how many there are, and how many of them reached it
    median               of the times, a miss being infinite: infinite where most runs miss it
    penalised, low, high mean of the times, a miss counting `penalty` times the largest cost that
                         any run spent on the case, and its 95 % bootstrap interval over seeds;
                         infinite where no run reached it

    Raises OptionError as `comparable` does.
    """
    hits = hitting_times(
        comparable(frame, allow), axis, compile_time=compile_time, per_decade=per_decade
    )
    keys = ["case", "metric", "method", "target", "own"]
    columns = [*keys, "runs", "reached", "median", "penalised", "low", "high"]
    if hits.empty:
        return pd.DataFrame(columns=columns)
    hits["miss"] = penalty * hits.groupby("case")["spent"].transform("max")
    tables = []
    for (case, method), group in hits.groupby(["case", "method"], sort=False):
        times = group.pivot(index="target", columns="folder", values="time")
        table = _penalised(times, float(group["miss"].iloc[0]))
        told = group.drop_duplicates("target").set_index("target")[["metric", "own"]]
        tables.append(table.join(told).reset_index().assign(case=case, method=method))
    result = pd.concat(tables, ignore_index=True)
    result = result.sort_values(["case", "method", "target"], ascending=[True, True, False])
    result = result[columns].reset_index(drop=True)
    result.attrs = dict(hits.attrs)
    return result


def penalised_times(
    hits: pd.DataFrame, penalty: float = PENALTY, by: Sequence[str] = ("case", "method", "target")
) -> pd.Series:
    """Return the mean of times to targets over runs, a miss counting as `time_to_target` says.

    hits as of `hitting_times`; infinite where no run of a group reached its target.
    """
    miss = penalty * hits.groupby("case")["spent"].transform("max")
    counted = hits["time"].where(np.isfinite(hits["time"]), miss)
    keys = [hits[name] for name in by]
    soonest = hits["time"].groupby(keys).min()
    return counted.groupby(keys).mean().where(np.isfinite(soonest), np.inf)


def _penalised(times: pd.DataFrame, miss: float) -> pd.DataFrame:
    """Score the times of a method's runs [target, run]."""
    values = times.to_numpy(float)
    reached = np.isfinite(values)
    mean, low, high = mean_interval(np.where(reached, values, miss))
    never = ~reached.any(axis=1)
    infinite = (np.where(never, np.inf, column) for column in (mean, low, high))
    scored = dict(zip(("penalised", "low", "high"), infinite, strict=True))
    return pd.DataFrame(
        {
            "runs": values.shape[1],
            "reached": reached.sum(axis=1),
            "median": quantile(values, 0.5, axis=1),
            **scored,
        },
        index=times.index,
    )


def run_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the final error of each run: one row per run, with metric and final_error.

    It is the error on the test set of the run's best parameters, chosen on the validation set by
    the same metric; infinite where no evaluation is finite. A run that diverges late keeps what it
    had.
    """
    finals = runs_of(frame).copy()
    of_case = {case: metric_column(group) for case, group in frame.groupby("case")}
    finals["metric"] = finals["case"].map(of_case)
    error = best_rows(frame)["error_of_best"].reindex(finals["folder"]).fillna(np.inf)
    finals["final_error"] = error.to_numpy()
    return finals


def best_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the evaluation of each run's best parameters: its row, with index folder.

    The parameters are chosen on the validation set by the metric of the case's target, of which
    `error_of_best` is the value on the test set. A run without a finite evaluation has no row.
    """
    if frame.empty:
        return frame.assign(error_of_best=np.nan).set_index("folder")
    chosen = []
    for _, group in frame.groupby("case", sort=False):
        metric = metric_column(group)
        validation = values_of(group, chosen_by(metric.removeprefix("test_")))
        usable = group.assign(error_of_best=values_of(group, metric), validation=validation)
        usable = usable.dropna(subset=["validation_loss", "validation", "error_of_best"])
        chosen.append(usable.loc[usable.groupby("folder")["validation"].idxmin()])
    return pd.concat(chosen).set_index("folder")


def final_errors(frame: pd.DataFrame, allow: Collection[str] = ()) -> pd.DataFrame:
    """Return the final error of each method: one row per case and method.

    runs, failed         how many there are, and how many diverged, ran out of memory or time, or
                         broke
    median, low, high    of the runs' final errors, see `run_errors`, with its 95 % bootstrap
                         interval over seeds
    best                 the smallest of them

    Raises OptionError as `comparable` does.
    """
    kept = comparable(frame, allow)
    rows = []
    for (case, metric, method), group in run_errors(kept).groupby(["case", "metric", "method"]):
        median, low, high = median_interval(group["final_error"])
        failed = int(group["status"].isin(FAILED).sum())
        counts = {"runs": len(group), "failed": failed}
        interval = {"median": median, "low": low, "high": high, "best": group["final_error"].min()}
        rows.append({"case": case, "metric": metric, "method": method, **counts, **interval})
    columns = ["case", "metric", "method", "runs", "failed", "median", "low", "high", "best"]
    result = pd.DataFrame(rows, columns=columns)
    result.attrs = dict(kept.attrs)
    return result


def ranks(frame: pd.DataFrame, allow: Collection[str] = ()) -> pd.DataFrame:
    """Return the rank of each method on each case by its median final error, and the mean rank.

    Index method, a column for each case and `mean`, best first. Equal errors share their mean rank;
    a method without runs on a case, or that failed there at once, shares the last.

    Raises OptionError as `comparable` does.
    """
    table = final_errors(frame, allow)
    errors = table.pivot(index="method", columns="case", values="median").fillna(np.inf)
    ranked = errors.apply(rank)
    ranked["mean"] = ranked.mean(axis=1)
    ranked = ranked.sort_values("mean", kind="stable")
    ranked.attrs = dict(table.attrs)
    return ranked


def score_table(
    frame: pd.DataFrame,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    per_decade: int = 5,
    allow: Collection[str] = (),
) -> pd.DataFrame:
    """Return one row per case and method: final error, and time to one target of the case.

    The columns of `final_errors`, the target, runs that `reached` it, and `penalised`, `time_low`,
    `time_high` as in `time_to_target`. The target is the problem's own if a run reached it; else
    the hardest that half of the methods reached in most of their runs, or the easiest.
    """
    errors = final_errors(frame, allow)
    times = time_to_target(
        frame, axis, compile_time=compile_time, per_decade=per_decade, allow=allow
    )
    chosen = [_one_target(of_case) for _, of_case in times.groupby("case", sort=False)]
    columns = {"low": "time_low", "high": "time_high"}
    at = pd.concat(chosen).rename(columns=columns) if chosen else times.rename(columns=columns)
    at = at[["case", "method", "target", "own", "reached", "penalised", *columns.values()]]
    table = errors.merge(at, on=["case", "method"], how="left")
    # A case in which nobody came below the start, and which names no target, has none.
    table["reached"] = table["reached"].fillna(0).astype(int)
    for name in ("penalised", "time_low", "time_high"):
        table.loc[table["reached"] == 0, name] = np.inf
    table = table.sort_values(["case", "penalised", "median"], kind="stable", ignore_index=True)
    table.attrs = dict(errors.attrs)
    return table


def _one_target(times: pd.DataFrame) -> pd.DataFrame:
    """Choose the target of a case for which one number a method is shown."""
    own = times[times["own"].astype(bool)]
    if own["reached"].sum() > 0:
        return own
    usual = times[2 * times["reached"] > times["runs"]].groupby("target").size()
    enough = usual[2 * usual >= times["method"].nunique()]
    target = min(enough.index) if len(enough) else times["target"].max()
    return times[times["target"] == target]
