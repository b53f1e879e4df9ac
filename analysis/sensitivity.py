"""Sensitivity: the dependence of a rule's result on its options, from the trials of `tune`.

A table of trials is what `tune` writes as trials.csv: one row per trial, with the columns of NAMES
and one for each option.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.analysis.style import case_axes, figure_note, method_styles, shared_legend, styled

NAMES = ("problem", "rule", "trial", "status", "validation_loss")
"""Columns of a table of trials; all others are options."""

STEPS = ("learning_rate", "sigma")
"""Options that set the length of a step; a rule without the first has the second."""


@styled
def plot_sensitivity(trials: pd.DataFrame) -> Figure:
    """Draw the score of every trial of one problem against each option; a row of axes per rule.

    A failed trial is a cross at the top.
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
    for row, (rule, names) in zip(axes, tuned.items(), strict=False):
        for panel, option in zip(row, names, strict=False):
            panel.set_visible(True)
            _draw(panel, of_rule[rule], option, styles[rule]["color"])
        row[0].set_title(rule.rpartition(":")[2])
        row[0].set_ylabel("lowest validation loss")
    failed = int((~np.isfinite(trials.validation_loss)).sum())
    if failed:
        figure_note(figure, f"crosses at the top: {failed} of {len(trials)} trials failed")
    return figure


def _draw(axes: Axes, trials: pd.DataFrame, option: str, colour: str) -> None:
    """Draw the trials against one option, and mark the best."""
    values, losses = trials[option].to_numpy(float), trials.validation_loss.to_numpy(float)
    finite = np.isfinite(losses)
    axes.plot(values[finite], losses[finite], "o", ms=4, color=colour)
    axes.plot(values[~finite], np.full((~finite).sum(), 0.97), "x", color="0.4",
              transform=axes.get_xaxis_transform())  # fmt: skip
    if finite.any():
        best = np.argmin(np.where(finite, losses, np.inf))
        axes.plot(values[best], losses[best], "o", ms=9, mfc="none", color=colour)
        if losses[finite].min() > 0:
            axes.set_yscale("log")
    if values.min() > 0 and values.max() > 10 * values.min():
        axes.set_xscale("log")
    axes.set_xlabel(option)


@styled
def plot_learning_rates(trials: pd.DataFrame, columns: int = 3) -> Figure:
    """Draw the lowest validation loss of every trial against its step size: a panel per problem.

    A step size is in units of the rule's best on that problem, so a flat line is a rule that needs
    no tuning. Failed trials lie at the top.
    """
    problems = list(dict.fromkeys(trials["problem"]))
    styles = method_styles(trials["rule"])
    figure, axes = case_axes(problems, columns=columns)
    for problem, panel in zip(problems, axes.flat, strict=False):
        of_problem = trials[trials["problem"] == problem]
        finite = of_problem["validation_loss"][np.isfinite(of_problem["validation_loss"])]
        top = 3 * finite.max() if len(finite) else 1.0
        for rule, table in of_problem.groupby("rule"):
            table = table.reset_index(drop=True)
            steps = _step_sizes(table)
            losses = table["validation_loss"].where(np.isfinite(table["validation_loss"]), top)
            if steps is None or losses.min() == top:
                continue
            order = np.argsort(steps.to_numpy())
            x = (steps / steps[losses.idxmin()]).to_numpy()[order]
            panel.plot(x, losses.to_numpy()[order], label=str(rule), **styles[str(rule)])
        panel.set(xscale="log", yscale="log", title=problem, xlabel="step size over the best")
        panel.set_ylabel("lowest validation loss")
    shared_legend(figure, axes.flat)
    failed = int((~np.isfinite(trials["validation_loss"])).sum())
    figure_note(
        figure,
        "Step size: learning rate, for Metropolis the standard deviation; a rule's second option "
        f"varies as well. {failed} of {len(trials)} trials failed or were refused.",
    )
    return figure


def _step_sizes(table: pd.DataFrame) -> pd.Series | None:
    for name in STEPS:
        if name in table and table[name].notna().to_numpy().all():
            return table[name]
    return None
