"""Figure of yields against time."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import ArrayLike

COLORS = ("#0072b2", "#b0b0b0")


def draw_yields(times: ArrayLike, curves: Mapping[str, ArrayLike], titles: list[str]) -> Figure:
    """Draw one sample per column: times [batch, 5] in s, curves {label: [batch, 5]}."""
    figure = Figure(figsize=(2.6 * len(titles) + 0.4, 3.0), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(titles), squeeze=False, sharey=True)[0]
    for column, (axis, title) in enumerate(zip(axes, titles, strict=True)):
        for (label, values), color in zip(curves.items(), COLORS, strict=False):
            line = np.asarray(values, np.float64)[column]
            axis.semilogx(np.asarray(times)[column], 100 * line, "o-", ms=3, color=color, lw=1.4,
                          label=label)  # fmt: skip
        axis.set_title(title, fontsize=7)
        axis.set_xlabel("time in s", fontsize=8)
        axis.set_ylim(-3, 103)
        axis.tick_params(labelsize=7)
        axis.xaxis.set_minor_formatter(NullFormatter())
    axes[0].set_ylabel("yield in %", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure
