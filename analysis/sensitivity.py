"""Sensitivity: how what a rule achieves depends on its options."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.analysis.style import figure_note, method_styles, styled

NAMES = ("problem", "rule", "trial", "status", "validation_loss")
"""Columns of a table of trials; all others are options."""


@styled
def plot_sensitivity(trials: pd.DataFrame) -> Figure:
    """Draw the score of every trial against each option; one row of axes for each rule.

    `trials` is what `tune` writes as trials.csv, for one problem: a row for each trial, with the
    columns of NAMES and one for each option. A trial that failed stands as a cross at the top.
    """
    every = [column for column in trials.columns if column not in NAMES]
    of_rule = {str(rule): table for rule, table in trials.groupby("rule")}
    options = {r: [o for o in every if t[o].notna().to_numpy().any()] for r, t in of_rule.items()}
    tuned = {rule: columns for rule, columns in options.items() if columns}
    rows, columns = max(1, len(tuned)), max((len(c) for c in tuned.values()), default=1)
    figure = Figure(figsize=(3.2 * columns + 0.8, 2.3 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for spare in axes.flat:
        spare.set_visible(False)
    styles = method_styles(tuned)
    for line, (rule, names) in zip(axes, tuned.items(), strict=False):
        for one, option in zip(line, names, strict=False):
            one.set_visible(True)
            _draw(one, of_rule[rule], option, styles[rule]["color"])
        line[0].set_title(rule.rpartition(":")[2])
        line[0].set_ylabel("lowest validation loss")
    failed = int((~np.isfinite(trials.validation_loss)).sum())
    if failed:
        figure_note(figure, f"crosses at the top: {failed} of {len(trials)} trials failed")
    return figure


def _draw(axes: Axes, trials: pd.DataFrame, option: str, colour: str) -> None:
    """Draw one option: its trials, and the best of them."""
    values, losses = trials[option].to_numpy(float), trials.validation_loss.to_numpy(float)
    fine = np.isfinite(losses)
    axes.plot(values[fine], losses[fine], "o", ms=4, color=colour)
    axes.plot(values[~fine], np.full((~fine).sum(), 0.97), "x", color="0.4",
              transform=axes.get_xaxis_transform())  # fmt: skip
    if fine.any():
        best = np.argmin(np.where(fine, losses, np.inf))
        axes.plot(values[best], losses[best], "o", ms=9, mfc="none", color=colour)
        if losses[fine].min() > 0:
            axes.set_yscale("log")
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_xscale("log")
    axes.set_xlabel(option)
