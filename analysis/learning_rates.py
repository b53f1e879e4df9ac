"""Learning rates: how much each rule depends on its step size, from the trials of `tune`."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis.style import case_axes, figure_note, method_styles, shared_legend, styled

STEPS = ("learning_rate", "sigma")
"""Options that set the length of a step; a rule without the first has the second."""


@styled
def plot_learning_rates(trials: pd.DataFrame, columns: int = 3) -> Figure:
    """Draw the lowest validation loss of every trial against its step size: a panel a problem.

    `trials` is what `tune` writes as trials.csv, of one problem or several. A step size stands in
    units of the rule's best on that problem, so that a flat line is a rule that need not be tuned.
    Trials that failed stand at the top.
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
            steps = _steps(table)
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
        "Learning rate, of Metropolis the standard deviation; where a rule has a second option, "
        f"that varies as well. {failed} of {len(trials)} trials failed or were refused.",
    )
    return figure


def _steps(table: pd.DataFrame) -> pd.Series | None:
    for name in STEPS:
        if name in table and table[name].notna().to_numpy().all():
            return table[name]
    return None
