"""Sensitivity: the dependence of a rule's result on its options, from the trials of `tune`.

A table of trials is what `tune` writes as trials.csv: one row per trial, with the columns of NAMES
and one for each option.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.analysis.style import (
    case_panels,
    figure_note,
    method_styles,
    plain_log_ticks,
    shared_legend,
    styled,
)

NAMES = ("problem", "rule", "trial", "status", "validation_loss")
"""Columns of a table of trials; all others are options."""

STEPS = ("learning_rate", "sigma")
"""Options that set the length of a step; a rule without the first has the second."""


Range = tuple[float, float]
Ranges = Mapping[tuple[str, str], Range]
"""{(rule, option): (low, high)}."""

_DECADE, _EDGE = 10.0, 0.1
_UNKNOWN: Ranges = MappingProxyType({})
_MARKS = {None: "o", "low": "<", "high": ">"}


def logarithmic(low: float, high: float) -> bool:
    """Return whether a range is searched by the logarithm: if it is longer than a decade."""
    return low > 0 and high / low > _DECADE


def edge(value: float, low: float, high: float) -> Literal["low", "high"] | None:
    """Return the end of a range in whose outer tenth a value lies, None if it lies inside."""
    if not low < high:
        return None
    value = min(max(value, low), high)
    if logarithmic(low, high):
        value, low, high = math.log(value), math.log(low), math.log(high)
    fraction = (value - low) / (high - low)
    return "low" if fraction < _EDGE else "high" if fraction > 1 - _EDGE else None


@styled
def plot_sensitivity(trials: pd.DataFrame, ranges: Ranges = _UNKNOWN) -> Figure:
    """Draw the score of every trial of one problem against each option; a row of axes per rule.

    The selected trial has a ring, or a triangle if it lies in the outer tenth of its range. A
    failed trial is a cross at the top. ranges: those that were searched, drawn dotted; where they
    are not given, the values tried stand for them.
    """
    trials = trials.reset_index(drop=True)
    options = trials.columns.drop(list(NAMES), errors="ignore")
    tuned: dict[str, pd.DataFrame] = {}
    for rule, table in trials.groupby("rule"):
        values = table[options].dropna(axis="columns", how="all")
        if len(values.columns):
            tuned[str(rule)] = values
    rows, columns = max(1, len(tuned)), max((len(v.columns) for v in tuned.values()), default=1)
    figure = Figure(figsize=(3.2 * columns + 0.8, 2.3 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for spare in axes.flat:
        spare.set_visible(False)
    styles = method_styles(tuned)
    for row, (rule, values) in zip(axes, tuned.items(), strict=False):
        for panel, option in zip(row, values, strict=False):
            panel.set_visible(True)
            losses = trials.loc[values.index, "validation_loss"]
            searched = ranges.get((rule, option))
            _draw(panel, values[option], losses, styles[rule]["color"], searched)
            panel.set_xlabel(option)
        row[0].set_title(rule.rpartition(":")[2])
        row[0].set_ylabel("lowest validation loss")
    failed = int((~np.isfinite(trials["validation_loss"])).sum())
    lost = f" Crosses at the top: {failed} of {len(trials)} trials failed." if failed else ""
    ends = "an end of the range (dotted)" if ranges else "an end of the values tried"
    figure_note(figure, f"Ring: the selected trial; a triangle instead if it is near {ends}.{lost}")
    return figure


def _draw(
    axes: Axes, values: pd.Series, losses: pd.Series, colour: str, searched: Range | None
) -> None:
    """Draw the trials against the values of one option, and mark the best."""
    finite = np.isfinite(losses)
    axes.plot(values[finite], losses[finite], "o", ms=4, color=colour)
    axes.plot(values[~finite], np.full((~finite).sum(), 0.97), "x", color="0.4",
              transform=axes.get_xaxis_transform())  # fmt: skip
    low, high = searched or (values.min(), values.max())
    for end in searched or ():
        axes.axvline(end, color="0.45", lw=0.9, ls=(0, (1, 2)))
    if finite.any():
        best = losses[finite].idxmin()
        _mark_best(axes, values[best], losses[best], edge(values[best], low, high), colour)
        if losses[finite].min() > 0:
            axes.set_yscale("log")
    if logarithmic(low, high) or (not searched and high > 3 * low > 0):
        axes.set_xscale("log")
    plain_log_ticks(axes)


def _mark_best(
    axes: Axes, value: float, loss: float, at: Literal["low", "high"] | None, colour: str
) -> None:
    size = 60 if at is None else 110
    axes.scatter(value, loss, s=size, marker=_MARKS[at], facecolors="none", edgecolors=colour,
                 linewidths=1.4, zorder=3)  # fmt: skip


@styled
def plot_learning_rates(trials: pd.DataFrame, columns: int = 3) -> Figure:
    """Draw the lowest validation loss of every trial against its step size: a panel per problem.

    A step size is in units of the rule's best on that problem, so a flat line is a rule that needs
    no tuning. The best has a ring, or a triangle if no larger, or no smaller, one was tried. Failed
    trials lie at the top.
    """
    trials = trials.reset_index(drop=True)
    finite = trials["validation_loss"].where(np.isfinite(trials["validation_loss"]))
    styles = method_styles(trials["rule"])
    figure, panels = case_panels(trials.assign(loss=finite), columns, by="problem")
    for problem, panel, of_problem in panels:
        for rule, table in of_problem.groupby("rule"):
            step = next(
                (name for name in STEPS if name in table and table[name].notna().all()), None
            )
            if step is None or table["loss"].isna().all():
                continue
            place = table["loss"].idxmin()
            best, loss = table[step][place], table["loss"][place]
            low, high = table[step].min(), table[step].max()
            table = table.fillna({"loss": 3 * of_problem["loss"].max()}).sort_values(step)
            look = styles[str(rule)]
            panel.plot(table[step] / best, table["loss"], label=str(rule), **look)
            at = None if low < best < high or low == high else "low" if best == low else "high"
            _mark_best(panel, 1.0, loss, at, look["color"])
        panel.set(xscale="log", yscale="log", title=problem, xlabel="step size over the best")
        panel.set_ylabel("lowest validation loss")
        plain_log_ticks(panel)
    shared_legend(figure)
    figure_note(
        figure,
        "Step size: learning rate, for Metropolis the standard deviation; a rule's second option "
        "varies as well. Ring: the best; a triangle instead if it is the smallest or largest tried."
        f" {finite.isna().sum()} of {len(trials)} trials failed or were refused.",
    )
    return figure
