"""Figures of guessed pressures and of corrected simulations."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

COLOURS = ("#b0b0b0", "#0072b2")
FRAMES = 5
"""Times that are shown."""


def draw_guesses(
    divergence: ArrayLike,
    pressure: ArrayLike,
    guess: ArrayLike,
    residuals: Mapping[str, ArrayLike],
    tolerance: float,
) -> Figure:
    """Draw one sample per column: divergence, pressure, guess, and the way of the solver.

    Fields are [batch, n, n]; residuals {start: [batch, iterations + 1]}.
    """
    rows = {"divergence": divergence, "pressure": pressure, "guess": guess}
    fields = {name: np.asarray(field, np.float64) for name, field in rows.items()}
    count = len(fields["guess"])
    figure = Figure(figsize=(2.1 * count + 0.6, 8.4), dpi=130, layout="constrained")
    axes = figure.subplots(4, count, squeeze=False)
    for row, (name, field) in zip(axes[:3], fields.items(), strict=True):
        scale = fields["divergence" if name == "divergence" else "pressure"]
        for axis, values, scaled in zip(row, field, scale, strict=True):
            _draw_field(axis, values, float(np.abs(scaled).max()), "coolwarm")
        row[0].set_ylabel(name, fontsize=8)
    for column, axis in enumerate(axes[3]):
        for (start, curves), colour in zip(residuals.items(), COLOURS, strict=False):
            axis.semilogy(np.asarray(curves)[column], color=colour, label=f"from {start}")
        axis.axhline(tolerance, color="black", lw=0.6, ls="--")
        axis.set_ylim(tolerance / 5, None)
        axis.set_xlabel("iterations", fontsize=8)
        axis.tick_params(labelsize=7)
    axes[3, 0].set_ylabel("largest residual", fontsize=8)
    figure.legend(*axes[3, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _draw_field(axis: Axes, field: np.ndarray, largest: float, colours: str, low: float = -1):
    """Draw a field [n, n] whose first axis points right, between low * largest and largest."""
    axis.imshow(field.T, origin="lower", cmap=colours, vmin=low * largest, vmax=largest)
    axis.set_xticks([])
    axis.set_yticks([])


def draw_rollouts(
    speeds: Mapping[str, ArrayLike], errors: Mapping[str, ArrayLike], times: Sequence[float]
) -> Figure:
    """Draw the speed of one simulation in several ways, and the errors of all against time.

    speeds {name: [times, n, n]}; errors {name: [batch, times]}, the mean is drawn bold.
    """
    shown = np.unique(np.linspace(0, len(times) - 1, min(FRAMES, len(times))).round().astype(int))
    size = (1.6 * len(shown) + 3.2, 1.7 * len(speeds) + 0.3)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    grid = figure.add_gridspec(len(speeds), len(shown) + 2)
    largest = float(np.max(next(iter(speeds.values()))))
    for row, (name, frames) in enumerate(speeds.items()):
        for column, time in enumerate(shown):
            axis = figure.add_subplot(grid[row, column])
            _draw_field(axis, np.asarray(frames)[time], largest, "viridis", 0)
            if row == 0:
                axis.set_title(f"t = {times[time]:.3g}", fontsize=8)
            if column == 0:
                axis.set_ylabel(name, fontsize=8)
    axis = figure.add_subplot(grid[:, len(shown) :])
    for (name, curves), colour in zip(errors.items(), COLOURS, strict=False):
        values = np.asarray(curves, np.float64)
        axis.plot(times, values.T, color=colour, lw=0.6, alpha=0.5)
        axis.plot(times, values.mean(axis=0), color=colour, lw=2, label=name)
    axis.set_xlabel("time", fontsize=8)
    axis.set_ylabel("mean absolute error of the velocity", fontsize=8)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=8, frameon=False)
    return figure
