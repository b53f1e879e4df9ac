"""Targets that all methods share on a problem, and when each run reached them."""

from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.costs import cost

DECADES = 12.0
"""Targets reach at most this many decades below the start: what is beyond is rounding."""

FEWEST = 8
"""Where the range gives fewer targets, they are set more densely."""


def metric_column(frame: pd.DataFrame) -> str:
    """Return the column that says how well a case is solved, on the test set.

    It is the metric of the problem's own target, and the test loss where the problem names none.
    """
    told = frame["target_metric"].dropna()
    return "test_loss" if told.empty or told.iloc[0] == "loss" else str(told.iloc[0])


def values_of(frame: pd.DataFrame, metric: str) -> pd.Series:
    """Return the values of a metric, all missing where no run came to measure it."""
    return frame[metric] if metric in frame else pd.Series(np.nan, frame.index)


def shared_targets(frame: pd.DataFrame, per_decade: int = 5) -> pd.DataFrame:
    """Return the targets of each case: columns case, metric, target, own.

    They lie at 10^(k / per_decade), k whole, below the smallest error that any run starts from,
    down to the smallest that any run reaches; so they depend on the case and not on who is
    compared, but for their end. A narrow range is divided 2, 4, ... times as densely. The problem's
    own target is among them (`own`), reached or not.
    """
    found = []
    for case, group in frame.groupby("case", sort=False):
        metric = metric_column(group)
        values = _grid(group, metric, per_decade)
        told = group["target_value"].dropna()
        own = float(told.iloc[0]) if len(told) else np.nan
        values = values if np.isnan(own) else np.union1d(values, [own])
        found += [
            {"case": case, "metric": metric, "target": value, "own": value == own}
            for value in values[::-1]
        ]
    return pd.DataFrame(found, columns=["case", "metric", "target", "own"])


def _grid(frame: pd.DataFrame, metric: str, per_decade: int) -> np.ndarray:
    """Return round targets between the best value reached and the smallest initial one."""
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
        # Rounding may put a target on the wrong side of an end.
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
    """Return what each run had spent when it first reached each target; infinity where it did not.

    One row per run and target: case, method, seed, folder, metric, target, own, time, spent. `time`
    is that of the first evaluation at or below the target on the test set; `spent` is all that the
    run spent. A run is judged as it went: one that reached a target and diverged later reached it.
    """
    targets = shared_targets(frame, per_decade)
    spent = cost(frame, axis, compile_time)
    tables = []
    for case, of_case in targets.groupby("case", sort=False):
        chosen = frame["case"] == case
        metric = of_case["metric"].iloc[0]
        columns = ["method", "seed", "folder"]
        group = frame.loc[chosen, columns].assign(
            cost=spent[chosen], value=values_of(frame[chosen], metric)
        )
        for folder, run in group.groupby("folder", sort=False):
            costs = run["cost"].to_numpy(float)
            times = first_reached(run["value"].to_numpy(float), costs, of_case["target"])
            told = {name: run[name].iloc[0] for name in ("method", "seed")}
            most = np.nan_to_num(np.nanmax(costs, initial=0.0))
            tables.append({"folder": folder, **told, "time": times, "spent": most, "of": of_case})
    columns = [*targets.columns, "method", "seed", "folder", "time", "spent"]
    result = _joined(tables, columns) if tables else pd.DataFrame(columns=columns)
    result = result.astype({"time": float, "spent": float})
    result.attrs = dict(frame.attrs)
    return result


def _joined(tables: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """Put the targets of each run below one another."""
    result = pd.concat([table["of"] for table in tables], ignore_index=True)
    lengths = [len(table["of"]) for table in tables]
    for name in ("method", "seed", "folder", "spent"):
        result[name] = np.repeat(np.array([t[name] for t in tables], object), lengths)
    result["time"] = np.concatenate([table["time"] for table in tables])
    return result[columns]


def first_reached(values: np.ndarray, costs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the cost at which a sequence of values first comes to each target; else infinity."""
    smallest = np.minimum.accumulate(np.where(np.isnan(values), np.inf, values))
    # Searching a falling sequence from its end: how many evaluations are still above the target.
    above = np.searchsorted(-smallest, -np.asarray(targets, float), side="left")
    return np.append(costs, np.inf)[above]
