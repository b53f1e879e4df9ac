"""Figures of wave packets, shots and flows, each beside the true or wanted one."""

import numpy as np
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import ArrayLike

OWN, TRUE, DATA = "#0072b2", "#d55e00", "#b0b0b0"
PATHS = ("#222222", "#0072b2", "#009e73", "#cc79a7")


def draw_packets(
    signal: ArrayLike,
    own: ArrayLike,
    scan: ArrayLike,
    losses: ArrayLike,
    positions: tuple[ArrayLike, ArrayLike],
) -> Figure:
    """Draw one signal per column, and below it the loss against the position.

    signal and own [batch, points]; losses [batch, n] at the positions scan [n]; positions: found
    and true, [batch] each.
    """
    signal, own, scan, losses = (np.asarray(a, np.float64) for a in (signal, own, scan, losses))
    figure = Figure(figsize=(2.7 * len(signal) + 0.4, 4.0), dpi=130, layout="constrained")
    axes = figure.subplots(2, len(signal), squeeze=False, sharex=True)
    place = np.arange(1, signal.shape[1] + 1)
    for k, (above, below) in enumerate(axes.T):
        above.plot(place, signal[k], color=DATA, lw=0.8, label="signal")
        above.plot(place, own[k], color=OWN, lw=1.2, label="packet found")
        below.plot(scan, losses[k], color="#222222", lw=0.8)
        for value, colour, label in zip(
            (float(np.asarray(p)[k]) for p in positions), (OWN, TRUE), ("found", "true"),
            strict=True,
        ):  # fmt: skip
            below.axvline(value, color=colour, lw=1.4, ls="-" if label == "found" else ":",
                          label=f"{label} position")  # fmt: skip
        below.set_xlabel("position", fontsize=8)
        for axis in (above, below):
            axis.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("signal", fontsize=8)
    axes[1, 0].set_ylabel("loss", fontsize=8)
    entries = [axes[row, 0].get_legend_handles_labels() for row in (0, 1)]
    figure.legend(entries[0][0] + entries[1][0], entries[0][1] + entries[1][1],
                  loc="outside lower center", ncols=4, fontsize=8, frameon=False)  # fmt: skip
    return figure


def draw_shots(
    paths: ArrayLike, target: ArrayLike, size: tuple[float, float], radius: float
) -> Figure:
    """Draw one table per column: paths [batch, times, balls, 2] and targets [batch, 2]."""
    paths, target = np.asarray(paths, np.float64), np.asarray(target, np.float64)
    figure = Figure(figsize=(3.0 * len(paths) + 0.4, 2.4), dpi=130, layout="constrained")
    for k, axis in enumerate(figure.subplots(1, len(paths), squeeze=False)[0]):
        for ball in range(paths.shape[2]):
            line, colour = paths[k, :, ball], PATHS[ball]
            name = "cue ball" if ball == 0 else "ball" if ball == 1 else f"ball {ball}"
            axis.plot(*line.T, color=colour, lw=1, label=name)
            ends = [Circle(tuple(line[0]), radius), Circle(tuple(line[-1]), radius)]
            faces = ["none", colour]
            axis.add_collection(PatchCollection(ends, facecolors=faces, edgecolors=colour))
        axis.plot(*target[k], "x", color=TRUE, ms=9, mew=2, label="target", zorder=3)
        distance = np.linalg.norm(paths[k, -1, -1] - target[k])
        axis.set_title(f"distance {distance:.2g}", fontsize=8)
        axis.set_xlim(0, size[0])
        axis.set_ylim(0, size[1])
        axis.set_aspect("equal")
        axis.set_xticks([])
        axis.set_yticks([])
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def draw_flows(true: ArrayLike, own: ArrayLike, length: float, horizon: float) -> Figure:
    """Draw flows [times, batch, points], true and found, and their last states, one per column."""
    true, own = np.asarray(true, np.float64), np.asarray(own, np.float64)
    count, place = true.shape[1], np.linspace(0, length, true.shape[2], endpoint=False)
    figure = Figure(figsize=(2.5 * count + 0.6, 5.4), dpi=130, layout="constrained")
    axes = figure.subplots(3, count, squeeze=False, sharex=True, height_ratios=[1, 1, 0.8])
    largest = np.abs(true).max()
    for k, (above, middle, below) in enumerate(axes.T):
        for axis, flow in ((above, true), (middle, own)):
            image = axis.imshow(
                flow[:, k], origin="lower", aspect="auto", extent=(0, length, 0, horizon),
                cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest",
            )  # fmt: skip
            axis.tick_params(labelsize=7)
        below.plot(place, true[-1, k], color=TRUE, lw=1.6, ls=":", label="true")
        below.plot(place, own[-1, k], color=OWN, lw=1.2, label="found")
        error = np.linalg.norm(own[-1, k] - true[-1, k]) / np.linalg.norm(true[-1, k])
        below.set_title(f"error {100 * error:.2g} %", fontsize=8)
        below.set_xlabel("position", fontsize=8)
        below.tick_params(labelsize=7)
    for axis, name in zip(axes[:, 0], ("true: time", "found: time", "last state"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    bar = figure.colorbar(image, ax=axes[:2], shrink=0.6, aspect=30)
    bar.ax.tick_params(labelsize=7)
    handles, labels = axes[2, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
