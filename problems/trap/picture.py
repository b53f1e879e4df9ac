"""Figure of protocols beside the optimal ones."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

OWN, OPTIMAL, LINEAR = "#0072b2", "#222222", "#b0b0b0"


def draw_protocols(
    part: ArrayLike, own: ArrayLike, optimal: ArrayLike, ends: ArrayLike, titles: list[str]
) -> Figure:
    """Draw one protocol per column, each with its jumps at both ends.

    part [n] are times over the duration; own and optimal [batch, n]; ends [batch, 2] are the
    controls before and after.
    """
    part, own, optimal, ends = (np.asarray(a, np.float64) for a in (part, own, optimal, ends))
    figure = Figure(figsize=(2.6 * len(titles) + 0.4, 2.8), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(titles), squeeze=False)[0]
    times = np.concatenate([[-0.12, 0], part, [1, 1.12]])
    for axis, control, best, (before, after), title in zip(
        axes, own, optimal, ends, titles, strict=True
    ):
        axis.plot([-0.12, 0, 1, 1.12], [before, before, after, after], color=LINEAR, lw=1.2,
                  label="linear")  # fmt: skip
        for values, color, style, label in (
            (best, OPTIMAL, "--", "optimum"),
            (control, OWN, "-", "achieved"),
        ):
            line = np.concatenate([[before] * 2, values, [after] * 2])
            axis.plot(times, line, style, color=color, lw=1.6, label=label)
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("time / duration", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0].set_ylabel("control", fontsize=8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure
