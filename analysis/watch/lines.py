"""Lines: the curve of each run against a cost, ready to be drawn."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from physopt.analysis.costs import cost
from physopt.analysis.targets import metric_column, values_of

POINTS = 400
"""Maximum number of points of a line."""

QUANTITIES = ("test error", "training loss")


class Line(NamedTuple):
    """The curve of one run."""

    folder: str
    case: str
    method: str
    seed: float
    status: str
    reason: str
    metric: str
    x: np.ndarray
    y: np.ndarray


def lines(frame: pd.DataFrame, axis: str, quantity: str = QUANTITIES[0]) -> list[Line]:
    """Return the line of each run, without points that are not finite.

    axis: a key of `costs.COSTS`. quantity: one of QUANTITIES; the test error is the metric of the
    problem's target.
    """
    if frame.empty:
        return []
    metrics = {case: _column(group, quantity) for case, group in frame.groupby("case", sort=False)}
    value = np.full(len(frame), np.nan)
    for case, metric in metrics.items():
        rows = (frame["case"] == case).to_numpy()
        value[rows] = values_of(frame[rows], metric)
    spent = cost(frame, axis).to_numpy(float)
    folders = frame["folder"].to_numpy()
    starts = np.flatnonzero(np.append(True, folders[1:] != folders[:-1]))
    runs = frame.iloc[starts][["folder", "case", "method", "seed", "status", "reason"]]
    drawn = []
    for run, x, y in zip(
        runs.itertuples(index=False, name=None),
        np.split(spent, starts[1:]),
        np.split(value, starts[1:]),
        strict=True,
    ):
        finite = np.isfinite(x) & np.isfinite(y)
        keep = _thinned(np.flatnonzero(finite))
        drawn.append(Line(*run, metrics[run[1]], x[keep], y[keep]))
    return drawn


def _column(of_case: pd.DataFrame, quantity: str) -> str:
    """Return the column that is drawn: the test loss, if no run has the target's metric."""
    if quantity == "training loss":
        return "train_loss"
    metric = metric_column(of_case)
    return metric if values_of(of_case, metric).notna().any() else "test_loss"


def _thinned(places: np.ndarray) -> np.ndarray:
    """Return at most POINTS of some indices, with the first and the last."""
    if len(places) <= POINTS:
        return places
    return places[np.linspace(0, len(places) - 1, POINTS).astype(int)]


def extent(drawn: list[Line]) -> tuple[float, float] | None:
    """Return the lowest and the highest value to show, None without a point.

    A diverging run must not set the scale for the others: nothing above three times the largest
    first value is shown.
    """
    values = [line.y for line in drawn if len(line.y)]
    if not values:
        return None
    low, high = min(y.min() for y in values), max(y.max() for y in values)
    start = max(y[0] for y in values)
    return float(low), float(min(high, 3 * start) if start > 0 else high)
