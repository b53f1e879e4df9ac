"""Figures of the studies: one function per DataFrame.

Series differ in marker and line style as well as in colour (Okabe-Ito palette), so that they can be
distinguished in grey and by colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

BLACK, BLUE, VERMILION, GREEN, ORANGE = "#222222", "#0072b2", "#d55e00", "#009e73", "#e69f00"
LATTICE_COLOURS = {2: BLUE, 3: VERMILION}
LATTICE_MARKERS = {2: "o", 3: "s"}
GRADIENT_STYLES = {
    "implicit": {"color": BLUE, "ls": "-"},
    "unrolled": {"color": VERMILION, "ls": "--"},
    "remat": {"color": BLACK, "ls": ":"},
}
BATCH_MARKERS = "os^Dv"
PUBLISHED_TRANSLATION_LOSS = 14.8
CURVES = ("humidity", "uptake_2d", "uptake_3d")
MEBIBYTE = 2**20


def draw_accuracy(frame: pd.DataFrame) -> Figure:
    """Draw the frame of `unrolled.accuracy`, which may contain several lattices."""
    figure = Figure(figsize=(8.4, 3.8), dpi=150, layout="constrained")
    size, share = figure.subplots(1, 2)
    for name, part in _lattices(frame):
        style = _lattice_style(part)
        size.plot(part.sweeps, part.mean_area_percent, ls="-", label=f"{name}, mean", **style)
        size.plot(part.sweeps, part.quantile95_area_percent, ls="--", markerfacecolor="white",
                  label=f"{name}, 95 % quantile", **style)  # fmt: skip
        share.plot(part.sweeps, 100 * part.share_area_off, ls="-",
                   label=f"{name}, area by > 1 %", **style)  # fmt: skip
        share.plot(part.sweeps, 100 * part.share_uptake_off, ls="--", markerfacecolor="white",
                   label=f"{name}, uptake anywhere by > 0.01", **style)  # fmt: skip
    size.set_yscale("log")
    # Smaller values are the tolerance of the converged isotherm, not an error of the unrolled one.
    size.set_ylim(1e-3, max(1.0, 2 * frame.quantile95_area_percent.max()))
    size.set_ylabel("area difference to converged (%)")
    share.set_ylabel("matrices beyond the bound (%)")
    share.set_ylim(0, 100)
    for axis in (size, share):
        _sweeps_axis(axis, frame)
        axis.legend(fontsize=8, frameon=False)
    return figure


def draw_translation(frame: pd.DataFrame) -> Figure:
    """Draw the frame of `repetition.translation`: two designs and the distribution of losses."""
    figure = Figure(figsize=(10.2, 3.6), dpi=150, layout="constrained")
    *examples, distribution = figure.subplots(1, 3)
    losses = frame.groupby("matrix").area_percent.first().sort_values()
    shown = {"median": losses.index[(len(losses) - 1) // 2], "largest": losses.index[-1]}
    for axis, (which, matrix) in zip(examples, shown.items(), strict=True):
        part = frame.query(f"matrix == {matrix}")
        # At h = 0 a matrix contains no water.
        humidity, flat, deep = (np.insert(part[c], 0, 0.0) for c in CURVES)
        axis.plot(100 * humidity, flat, color=BLUE, label="2D")
        axis.plot(100 * humidity, deep, color=VERMILION, ls="--", label="3D, repeated")
        axis.set_title(f"{which} loss: {losses[matrix]:.1f} %", fontsize=10)
        axis.set(xlabel="relative humidity (%)", ylabel="water per pore volume")
        axis.set(xlim=(0, 100), ylim=(-0.03, 1.03))
        axis.legend(fontsize=8, frameon=False)
    below = 100 * np.arange(1, len(losses) + 1) / len(losses)
    distribution.step(losses, below, where="post", color=BLACK, label="matrices")
    distribution.axvline(losses.mean(), color=BLUE, ls="--", label=f"mean {losses.mean():.1f} %")
    distribution.axvline(PUBLISHED_TRANSLATION_LOSS, color=ORANGE, ls=":",
                         label=f"published {PUBLISHED_TRANSLATION_LOSS} %")  # fmt: skip
    distribution.set(xlabel="translation loss (% area)", ylabel="matrices with a smaller loss (%)")
    distribution.set(xlim=(0, None), ylim=(0, 103))
    distribution.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def draw_memory(frame: pd.DataFrame, limit_bytes: float | None = None) -> Figure:
    """Draw the frame of `cost.memory`, one row of panels per lattice dimension.

    limit_bytes: memory limit of the study, drawn as a line; cells above it have no time.
    """
    dimensions = sorted(frame.dimensions.unique())
    figure = Figure(figsize=(9.2, 3.1 * len(dimensions) + 0.4), dpi=150, layout="constrained")
    axes = figure.subplots(len(dimensions), 2, squeeze=False, sharex="row")
    markers = dict(zip(sorted(frame.batch.unique()), BATCH_MARKERS * 9, strict=False))
    for (space, duration), dimension in zip(axes, dimensions, strict=True):
        rows = frame.query("dimensions == @dimension")
        for gradient, batch in product(GRADIENT_STYLES, markers):
            part = rows.query("gradient == @gradient and batch == @batch")
            if part.empty:
                continue
            style = {**GRADIENT_STYLES[gradient], "marker": markers[batch], "ms": 5}
            label = f"{gradient}, batch {batch}"
            space.plot(part["size"], part.predicted_bytes / MEBIBYTE, label=label, **style)
            measured = part.measured_bytes.where(part.measured_bytes > 0) / MEBIBYTE
            space.plot(part["size"], measured, **{**style, "mfc": "none", "ls": "", "ms": 8})
            duration.plot(part["size"], part.seconds, **style)
        if limit_bytes is not None:
            space.axhline(limit_bytes / MEBIBYTE, color="#888888", lw=0.8, label="limit for timing")
        space.set_ylabel("memory (MiB)\nlines predicted, open marks measured")
        duration.set_ylabel("time of value and gradient (s)")
        for axis in (space, duration):
            axis.set_title(f"{dimension}D", fontsize=10)
            axis.set_xlabel("sites along each side")
            axis.set_xscale("log", base=2)
            _number_ticks(axis, rows["size"])
            if axis is space or rows.seconds.notna().any():
                axis.set_yscale("log")
            axis.grid(alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def draw_pores(frame: pd.DataFrame) -> Figure:
    """Draw the frame of `pores.pore_sizes`: mean distribution and mean size by porosity."""
    figure = Figure(figsize=(8.4, 3.6), dpi=150, layout="constrained")
    distribution, scatter = figure.subplots(1, 2)
    lattices = _lattices(frame)
    width = 0.8 / len(lattices)
    for k, (name, part) in enumerate(lattices):
        dimension = part.dimensions.iloc[0]
        colour = LATTICE_COLOURS[dimension]
        mean = 100 * part.groupby("pore_size").share.mean()
        at = mean.index + (k - (len(lattices) - 1) / 2) * width
        distribution.bar(at, mean, width, color=colour, hatch="//" * (dimension - 2),
                         edgecolor="white", label=f"{name}, mean of matrices")  # fmt: skip
        rows = part.assign(weighted=part.pore_size * part.share).groupby("matrix")
        scatter.plot(100 * rows.porosity.first(), rows.weighted.sum(), LATTICE_MARKERS[dimension],
                     ms=5, color=colour, markeredgecolor="white", label=name)  # fmt: skip
    largest = frame.pore_size[frame.share > 0].max() if (frame.share > 0).any() else 1
    distribution.set_xlim(0.5, largest + 0.5)
    distribution.xaxis.set_major_locator(MaxNLocator(integer=True))
    distribution.set(xlabel="pore size (sites)", ylabel="share of the pore volume (%)")
    scatter.set(xlabel="porosity (%)", ylabel="mean pore size (sites)", xlim=(0, 100))
    scatter.set_ylim(bottom=0)
    for axis in (distribution, scatter):
        axis.legend(fontsize=8, frameon=False)
    return figure


def draw_gradient_error(frame: pd.DataFrame) -> Figure:
    """Draw the frame of `unrolled.gradient_error`: medians over matrices, with quartiles."""
    figure = Figure(figsize=(10.2, 3.6), dpi=150, layout="constrained")
    error, cosine, share = figure.subplots(1, 3)
    for k, (name, part) in enumerate(_lattices(frame)):
        style = _lattice_style(part)
        at = part.sweeps * 1.06**k  # offset, so that error bars do not overlap
        for axis, column in ((error, "error"), (cosine, "cosine")):
            middle = part[f"{column}_50"]
            spread = [middle - part[f"{column}_25"], part[f"{column}_75"] - middle]
            axis.errorbar(at, middle, spread, capsize=3, elinewidth=1, label=name, **style)
        share.plot(part.sweeps, part.share_cosine_below_09, label=name, **style)
    error.set_yscale("log")
    # Smaller differences between gradients are negligible.
    error.set_ylim(1e-6, max(1.0, 2 * frame.error_75.max()))
    error.set_ylabel("relative error, median and quartiles")
    cosine.set_ylabel("cosine, median and quartiles")
    cosine.set_ylim(None, 1.03)
    share.set_ylabel("matrices with a cosine below 0.9")
    share.set_ylim(0, 1)
    share.yaxis.set_major_formatter(PercentFormatter(1))
    for axis in (error, cosine, share):
        _sweeps_axis(axis, frame)
    share.legend(fontsize=8, frameon=False)
    return figure


def _lattices(frame: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Split a frame into (name, rows) per lattice."""
    kinds = sorted(set(zip(frame.dimensions, frame["size"], strict=True)))
    parts = [frame.query(f"dimensions == {d} and size == {size}") for d, size in kinds]
    return [(" × ".join([str(n)] * d), part) for (d, n), part in zip(kinds, parts, strict=True)]


def _lattice_style(part: pd.DataFrame) -> dict[str, str]:
    dimension = part.dimensions.iloc[0]
    return {"color": LATTICE_COLOURS[dimension], "marker": LATTICE_MARKERS[dimension]}


def _sweeps_axis(axis: Axes, frame: pd.DataFrame) -> None:
    axis.set_xscale("log")
    _number_ticks(axis, frame.sweeps)
    axis.set_xlabel("sweeps per humidity, M")
    axis.grid(alpha=0.3)


def _number_ticks(axis: Axes, numbers: Iterable[float]) -> None:
    """Put ticks with plain numbers at the values studied, on a logarithmic axis."""
    ticks = sorted(set(numbers))
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
