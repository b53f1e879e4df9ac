"""Sensitivity: the dependence of a rule's result on its options, from the trials of `tune`.

A table of trials is what `tune` writes as trials.csv: one row per trial, with the columns of NAMES
and one for each option.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.analysis.style import case_panels, figure_note, method_styles, shared_legend, styled

NAMES = ("problem", "rule", "trial", "status", "validation_loss")
"""Columns of a table of trials; all others are options."""

STEPS = ("learning_rate", "sigma")
"""Options that set the length of a step; a rule without the first has the second."""


@styled
def plot_sensitivity(trials: pd.DataFrame) -> Figure:
    """Draw the score of every trial of one problem against each option; a row of axes per rule.

    A failed trial is a cross at the top.
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
            _draw(panel, values[option], losses, styles[rule]["color"])
            panel.set_xlabel(option)
        row[0].set_title(rule.rpartition(":")[2])
        row[0].set_ylabel("lowest validation loss")
    failed = int((~np.isfinite(trials["validation_loss"])).sum())
    if failed:
        figure_note(figure, f"crosses at the top: {failed} of {len(trials)} trials failed")
    return figure


def _draw(axes: Axes, values: pd.Series, losses: pd.Series, colour: str) -> None:
    """Draw the trials against the values of one option, and mark the best."""
    finite = np.isfinite(losses)
    axes.plot(values[finite], losses[finite], "o", ms=4, color=colour)
    axes.plot(values[~finite], np.full((~finite).sum(), 0.97), "x", color="0.4",
              transform=axes.get_xaxis_transform())  # fmt: skip
    if finite.any():
        best = losses[finite].idxmin()
        axes.plot(values[best], losses[best], "o", ms=9, mfc="none", color=colour)
        if losses[finite].min() > 0:
            axes.set_yscale("log")
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_xscale("log")


@styled
def plot_learning_rates(trials: pd.DataFrame, columns: int = 3) -> Figure:
    """Draw the lowest validation loss of every trial against its step size: a panel per problem.

    A step size is in units of the rule's best on that problem, so a flat line is a rule that needs
    no tuning. Failed trials lie at the top.
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
            best = table[step][table["loss"].idxmin()]
            table = table.fillna({"loss": 3 * of_problem["loss"].max()}).sort_values(step)
            panel.plot(table[step] / best, table["loss"], label=str(rule), **styles[str(rule)])
        panel.set(xscale="log", yscale="log", title=problem, xlabel="step size over the best")
        panel.set_ylabel("lowest validation loss")
    shared_legend(figure)
    figure_note(
        figure,
        "Step size: learning rate, for Metropolis the standard deviation; a rule's second option "
        f"varies as well. {finite.isna().sum()} of {len(trials)} trials failed or were refused.",
    )
    return figure
