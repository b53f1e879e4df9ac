"""Targets that all methods share on a problem, and the cost at which each run reached them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from physopt.analysis.costs import cost

DECADES = 12.0
"""Targets extend at most this many decades below the start: anything smaller is rounding error."""

FEWEST = 8
"""The grid is refined until the case has this many targets."""

PENALTY = 2.0
"""Cost of a missed target, in units of the largest cost of any run on the case."""


def metric_column(frame: pd.DataFrame) -> str:
    """Return the column that measures how well a case is solved, on the test set.

    It is the metric of the problem's own target; the test loss if the problem has none.
    """
    metrics = frame["target_metric"].dropna()
    return "test_loss" if metrics.empty or metrics.iloc[0] == "loss" else str(metrics.iloc[0])


def values_of(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return the values of a metric, all missing if no run recorded it."""
    return frame[metric] if metric in frame else pd.Series(np.nan, frame.index)


def shared_targets(frame: pd.DataFrame, per_decade: int = 5) -> pd.DataFrame:
    """Return the targets of each case: columns case, metric, target, own.

    They lie at 10^(k / per_decade), k integer, between the smallest initial error of any run and
    the smallest error that any run reaches. The grid depends on the case alone, only its lower end
    on the runs. A narrow range has 2, 4, ... times as many targets per decade. The problem's own
    target (`own`) is always included.
    """
    rows = []
    for case, group in frame.groupby("case", sort=False):
        metric = metric_column(group)
        own = group["target_value"].dropna().to_numpy(float)[:1]
        for value in np.union1d(_grid(group, metric, per_decade), own)[::-1]:
            rows.append({"case": case, "metric": metric, "target": value, "own": value in own})
    return pd.DataFrame(rows, columns=["case", "metric", "target", "own"])


def _grid(frame: pd.DataFrame, metric: str, per_decade: int) -> np.ndarray:
    """Return round targets between the smallest value reached and the smallest initial one."""
    value = values_of(frame, metric)
    value = value.where(value > 0)
    start = value[frame["step"] == 0].min()
    start = value.max() if np.isnan(start) else start
    best = max(value.min(), start * 10.0**-DECADES)
    if not np.isfinite(start) or not best < start:
        return np.array([])
    while True:
        first, last = np.ceil(per_decade * np.log10(best)), per_decade * np.log10(start)
        targets = 10.0 ** (np.arange(first, last) / per_decade)
        # Rounding can move a target past an end of the range.
        targets = targets[(targets >= best) & (targets < start)]
        if len(targets) >= FEWEST or per_decade >= 320:
            return targets
        per_decade *= 2


def hitting_times(
    frame: pd.DataFrame,
    axis: str = "seconds",
    *,
    compile_time: bool = False,
    per_decade: int = 5,
) -> pd.DataFrame:
    """Return the cost at which each run first reached each target; infinity if it never did.

    One row per run and target: case, method, seed, folder, metric, target, own, time, spent. `time`
    is the cost at the first evaluation at or below the target on the test set, `spent` the total
    cost of the run. A run that reached a target and diverged later has reached it.
    """
    columns = ["case", "metric", "target", "own", "method", "seed", "folder", "time", "spent"]
    costs = cost(frame, axis, compile_time)
    tables = []
    for case, targets in shared_targets(frame, per_decade).groupby("case", sort=False):
        rows = frame["case"] == case
        values = values_of(frame[rows], targets["metric"].iloc[0])
        of_case = frame.loc[rows, ["method", "seed", "folder"]]
        of_case = of_case.assign(cost=costs[rows], value=values)
        runs = of_case.groupby("folder", sort=False)
        times = [first_reached(run["value"], run["cost"], targets["target"]) for _, run in runs]
        table = runs.agg(method=("method", "first"), seed=("seed", "first"), spent=("cost", "max"))
        table = table.reset_index().merge(targets, how="cross")
        tables.append(table.assign(time=np.concatenate(times), spent=table["spent"].fillna(0.0)))
    result = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    result = result[columns].astype({"time": float, "spent": float})
    result.attrs = dict(frame.attrs)
    return result


def first_reached(values: ArrayLike, costs: ArrayLike, targets: ArrayLike) -> np.ndarray:
    """Return the cost at the first value at or below each target; infinity if there is none."""
    values = np.asarray(values, float)
    smallest = np.minimum.accumulate(np.where(np.isnan(values), np.inf, values))
    # The running minimum falls, so a search in it counts the evaluations above each target.
    above = np.searchsorted(-smallest, -np.asarray(targets, float), side="left")
    return np.append(costs, np.inf)[above]


def counted_times(hits: pd.DataFrame, penalty: float = PENALTY) -> pd.Series:
    """Return the times of `hitting_times`, a miss as `penalty` times the case's largest cost."""
    miss = penalty * hits.groupby("case")["spent"].transform("max")
    return hits["time"].where(np.isfinite(hits["time"]), miss)


def penalised_times(
    hits: pd.DataFrame, penalty: float = PENALTY, by: Sequence[str] = ("case", "method", "target")
) -> pd.Series:
    """Return the mean of `counted_times` over the runs of each group.

    Infinite if no run of the group reached its target.
    """
    keys = [hits[name] for name in by]
    reached = np.isfinite(hits["time"]).groupby(keys).any()
    return counted_times(hits, penalty).groupby(keys).mean().where(reached, np.inf)
