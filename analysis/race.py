"""Race: the picture of a race, from its curves and its ranking."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.analysis.ranking import Standing
from physopt.analysis.style import method_styles, shared_legend, styled


@styled
def plot_race(curves: pd.DataFrame, standings: Sequence[Standing], metric: str) -> Figure:
    """Draw the lowest error so far against training time, a panel per round, and the intervals.

    curves: columns round, budget, rule, rate, seed, seconds, error; a row per evaluation. The last
    panel shows each rule's error divided by that of the best one; open marks are not
    distinguishable from it.
    """
    rounds = list(curves.groupby("round"))
    panels = len(rounds) + 1
    figure = Figure(figsize=(3.4 * panels + 1.2, 3.4), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    styles = method_styles([*curves["rule"], *(s.method for s in standings)], markers=False)
    for panel, (number, of_round) in zip(axes, rounds, strict=False):
        for (rule, *_), run in of_round.groupby(["rule", "rate", "seed"], dropna=False):
            error = np.minimum.accumulate(run["error"].to_numpy())
            panel.plot(run["seconds"], error, label=rule, **{**styles[rule], "lw": 1.1})
        panel.set(title=f"round {number}: {of_round['budget'].iloc[0]:g} s each", yscale="log")
        panel.set(xlabel="training seconds", ylabel=f"lowest validation {metric}")
    _intervals(axes[-1], standings, {rule: look["color"] for rule, look in styles.items()})
    shared_legend(figure)
    return figure


def _intervals(panel: Axes, standings: Sequence[Standing], colours: dict[str, str]) -> None:
    """Draw ratio and interval of each rule, the best at the top."""
    for row, standing in enumerate(standings):
        colour = colours[standing.method]
        if np.isfinite(standing.ratio):
            filled = standing.sure or row == 0
            panel.plot(standing.ratio, row, "o", color=colour, mfc=colour if filled else "none")
        else:
            panel.text(0.98, row, "failed", transform=panel.get_yaxis_transform(), ha="right")
        if np.isfinite(standing.low) and np.isfinite(standing.high):
            panel.plot([standing.low, standing.high], [row, row], color=colour)
    panel.axvline(1.0, color="0.45", lw=0.9, ls=(0, (1, 2)))
    panel.set_yticks(range(len(standings)), [standing.method for standing in standings])
    panel.set(title="last round", xscale="log", xlabel="error over the best rule's")
    panel.invert_yaxis()
