"""Plots: loss curves, profiles and maps as matplotlib figures."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import COSTS, cost_label
from physopt.analysis.fairness import apart
from physopt.analysis.load import runs_of
from physopt.analysis.resampling import endpoints, quantile_name, resample
from physopt.analysis.style import (
    case_axes,
    figure_note,
    method_styles,
    plain_log_ticks,
    shared_legend,
    styled,
)
from physopt.records.units import bytes_text

ENDS = {
    "diverged": ("X", "diverged"),
    "oom": ("s", "out of memory"),
    "timeout": ("|", "out of time"),
    "error": ("P", "broke with an error"),
    "interrupted": (">", "interrupted"),
    "running": (">", "still running"),
    "damaged": ("d", "damaged records"),
}
"""Markers of runs that did not complete, and their names in the legend."""


@styled
def curves(
    runs: Runs,
    axis: str | None = None,
    *,
    metric: str | None = None,
    low: float = 0.25,
    high: float = 0.75,
    logarithmic: tuple[bool | None, bool] = (None, True),
    columns: int = 3,
    **options: Any,
) -> Figure:
    """Draw a metric against training time, updates or physics calls: a panel for each case.

    Lines are medians over seeds, bands the quantiles `low` to `high` (see `resample`). A marker
    shows where a run failed; a run without a point is named in the panel. `logarithmic` is for
    (cost, metric); None makes the cost axis of a panel logarithmic if its methods differ widely in
    cost. `options` are those of `Comparison`.
    """
    comparison = Comparison.of(runs, axis=axis, **options)
    frame = comparison.frame
    table = resample(comparison, metric=metric, low=low, high=high)
    ends = endpoints(comparison, metric=metric)
    cases = list(frame["case"].unique())
    styles = method_styles(apart(frame)["method"])
    figure, axes = case_axes(cases, columns=columns)
    for case, panel in zip(cases, axes.flat, strict=False):
        _lines(panel, table[table["case"] == case], styles)
        panel.set_title(case)
        panel.set_xlabel(COSTS[comparison.axis].label)
        of_case = table[table["case"] == case]
        along = _uneven(of_case) if logarithmic[0] is None else logarithmic[0]
        panel.set_xscale("log" if along else "linear")
        panel.set_yscale("log" if logarithmic[1] else "linear")
        least = of_case.loc[of_case["cost"] > 0, "cost"].min() if along else -np.inf
        _ends(panel, ends[ends["case"] == case], least, styles)
        plain_log_ticks(panel)
        _own_target(panel, frame[frame["case"] == case], metric)
    shared_legend(figure, axes.flat, f"median; band: {quantile_name(low, high)}")
    counts = runs_of(frame).groupby(["case", "method"]).size()
    seeds = " to ".join(str(count) for count in sorted({counts.min(), counts.max()}))
    label = cost_label(comparison.axis, comparison.compile_time)
    figure_note(figure, f"{seeds} runs per method and panel; x: {label}.")
    return figure


def _uneven(table: pd.DataFrame) -> bool:
    """Return whether the methods of a case differ so much in cost that a linear axis hides some."""
    ends = table.groupby("method")["cost"].max()
    return len(ends) > 1 and bool(ends.max() > 10 * ends.min())


def _lines(panel: Axes, table: pd.DataFrame, styles: dict) -> None:
    for method, line in table.groupby("method", sort=True):
        drawn = line[np.isfinite(line["median"])]
        look = {**styles[method], "marker": ""}
        panel.plot(drawn["cost"], drawn["median"], label=method, **look)
        # The upper quantile is infinite once enough runs have failed.
        top = np.where(np.isfinite(drawn["high"]), drawn["high"], line["low"].max() * 1e3)
        panel.fill_between(drawn["cost"], drawn["low"], top, color=look["color"], alpha=0.15, lw=0)
    if len(table):
        panel.set_ylabel(f"{table['metric'].iloc[0]}, test set")
        finite = table[["low", "median", "high"]].to_numpy()
        finite = finite[np.isfinite(finite) & (finite > 0)]
        if len(finite):
            # A diverging method must not set the scale for the others.
            start = table.groupby("method")["median"].first()
            top = min(finite.max(), 3 * start[np.isfinite(start)].max())
            panel.set_ylim(finite.min() / 1.3, top * 1.3)


def _ends(panel: Axes, ends: pd.DataFrame, least: float, styles: dict) -> None:
    """Mark where runs ended early; name those that have no point.

    An end above the panel, or left of the smallest cost of a logarithmic axis, is marked on the
    edge.
    """
    for (method, status), group in ends.dropna(subset=["value"]).groupby(["method", "status"]):
        mark, name = ENDS[status]
        value = np.minimum(group["value"], panel.get_ylim()[1])
        spent = np.maximum(group["cost"], least)
        panel.plot(spent, value, marker=mark, ls="", ms=7, zorder=4, clip_on=False,
                   color=styles[method]["color"], markeredgecolor="white")  # fmt: skip
        panel.plot([], [], marker=mark, ls="", ms=7, color="0.3", label=name)
    lost = ends[ends["value"].isna()]
    lines = [
        f"{method}: {len(group)} {'refused' if status == 'skipped' else status}"
        for (method, status), group in lost.groupby(["method", "status"])
    ]
    if lines:
        panel.text(0.98, 0.97, "no point:\n" + "\n".join(lines), transform=panel.transAxes,
                   ha="right", va="top", fontsize=7, color="0.3")  # fmt: skip


def _own_target(panel: Axes, frame: pd.DataFrame, metric: str | None) -> None:
    targets = frame["target_value"].dropna()
    if len(targets) and metric is None:
        value = float(targets.iloc[0])
        panel.axhline(value, color="0.45", lw=0.9, ls=(0, (1, 2)), label="solved")


@styled
def plot_profile(table: pd.DataFrame, axis: str = "seconds") -> Figure:
    """Draw a table of `performance_profile`: share of targets against the factor to the fastest."""
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    panel = figure.subplots()
    styles = method_styles(table["method"])
    end = max(2.0, table["ratio"].max() * 1.15)
    for method, line in table.groupby("method", sort=True):
        x, y = [*line["ratio"], end], [*line["fraction"], line["fraction"].iloc[-1]]
        look = {**styles[method], "marker": ""}
        panel.step(x, y, where="post", label=method, **look)
    panel.set(xscale="log", xlim=(1, end), ylim=(0, 1.02))
    panel.set_xlabel(f"{COSTS[axis].words}, as a multiple of that of the fastest method")
    panel.set_ylabel("share of targets reached")
    shared_legend(figure, [panel])
    figure_note(figure, "Targets of all cases, each case of equal weight; means, misses penalised.")
    return figure


@styled
def plot_ecdf(table: pd.DataFrame, axis: str = "seconds", columns: int = 3) -> Figure:
    """Draw a table of `ecdf`: share of (run, target) pairs reached by a time, a panel per case."""
    cases = list(table["case"].unique())
    figure, axes = case_axes(cases, columns=columns)
    styles = method_styles(table["method"])
    for case, panel in zip(cases, axes.flat, strict=False):
        for method, line in table[table["case"] == case].groupby("method", sort=True):
            look = {**styles[method], "marker": ""}
            panel.step(line["time"], line["fraction"], where="post", label=method, **look)
        panel.set(ylim=(0, 1.02), title=case, xlabel=COSTS[axis].label)
        panel.set_xscale("symlog", linthresh=_smallest(table[table["case"] == case]["time"]))
        panel.set_xlim(left=0)
        panel.set_ylabel("share of (run, target)")
    shared_legend(figure, axes.flat)
    return figure


def _smallest(values: pd.Series) -> float:
    positive = values[values > 0]
    return float(positive.min()) if len(positive) else 1.0


@styled
def feasibility_map(table: pd.DataFrame, columns: int = 3, *, limit: float | None = None) -> Figure:
    """Draw which (size, batch) pairs fit into memory: a panel for each problem, mode and device.

    Columns of the table: problem, size, batch, mode (of the gradient), device, bytes, fits. A cell
    shows the memory needed, in GiB; one that does not fit is dark and crossed out. limit: the
    memory available, in bytes, stated below the figure.
    """
    panels = list(table.groupby(["problem", "mode", "device"], sort=False))
    names = [" · ".join(map(str, key)) for key, _ in panels]
    figure, axes = case_axes(names, columns=columns)
    colours = ListedColormap(["#4a4a4a", "#9ecae1"])
    norm = BoundaryNorm([-0.5, 0.5, 1.5], colours.N)
    for name, (_, group), panel in zip(names, panels, axes.flat, strict=False):
        fits = group.pivot_table(index="size", columns="batch", values="fits", aggfunc="first")
        needed = group.pivot_table(index="size", columns="batch", values="bytes", aggfunc="first")
        needed = needed.reindex(index=fits.index, columns=fits.columns)
        shown = np.ma.masked_invalid(fits.astype(float).to_numpy())
        panel.imshow(shown, cmap=colours, norm=norm, aspect="auto", origin="lower")
        for (row, column), value in np.ndenumerate(needed.to_numpy(float)):
            if np.ma.getmaskarray(shown)[row, column]:
                continue
            good = bool(shown[row, column])
            text = "" if np.isnan(value) else f"{value / 2**30:.2g}"
            panel.text(column, row, text if good else f"× {text}", ha="center", va="center",
                       fontsize=7, color="black" if good else "white")  # fmt: skip
        panel.set_xticks(range(len(fits.columns)), [f"{v:g}" for v in fits.columns])
        panel.set_yticks(range(len(fits.index)), [f"{v:g}" for v in fits.index])
        panel.set(title=name, xlabel="batch size (samples)", ylabel="size (lattice sites an edge)")
        panel.grid(visible=False)
    within = "" if limit is None else f" into {bytes_text(limit)}"
    figure_note(figure, f"Memory needed, in GiB. Light: fits{within}; dark and crossed: does not.")
    return figure
