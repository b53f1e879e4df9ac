"""Plots: loss curves, profiles and maps as matplotlib figures."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

from physopt.analysis import style
from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.costs import COSTS, cost_label
from physopt.analysis.fairness import apart
from physopt.analysis.load import runs_of
from physopt.analysis.resampling import endpoints, quantile_name, resample, without_point
from physopt.records.units import bytes_text, memory_unit, scaled_text


@style.styled
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
    styles = style.method_styles(apart(frame)["method"], markers=False)
    figure, panels = style.case_panels(frame, columns)
    for case, panel, of_case in panels:
        lines = table[table["case"] == case]
        _lines(panel, lines, styles)
        panel.set(title=case, xlabel=COSTS[comparison.axis].label)
        along = uneven(lines) if logarithmic[0] is None else logarithmic[0]
        panel.set_xscale("log" if along else "linear")
        panel.set_yscale("log" if logarithmic[1] else "linear")
        least = lines.loc[lines["cost"] > 0, "cost"].min() if along else -np.inf
        _ends(panel, ends[ends["case"] == case], least, styles)
        style.plain_log_ticks(panel)
        targets = of_case["target_value"].dropna()
        if len(targets) and metric is None:
            panel.axhline(targets.iloc[0], color="0.45", lw=0.9, ls=(0, (1, 2)), label=style.TARGET)
    style.shared_legend(figure, f"median; band: {quantile_name(low, high)}")
    counts = runs_of(frame).groupby(["case", "method"]).size()
    seeds = " to ".join(str(count) for count in sorted({counts.min(), counts.max()}))
    label = cost_label(comparison.axis, comparison.compile_time)
    style.figure_note(figure, f"{seeds} runs per method and panel; x: {label}.")
    return figure


def uneven(lines: pd.DataFrame) -> bool:
    """Return whether some lines would be hidden on a linear cost axis: their ends differ widely."""
    ends = lines.groupby("method")["cost"].max()
    return len(ends) > 1 and bool(ends.max() > 10 * ends.min())


def draw_line(panel: Axes, line: pd.DataFrame, top: Any, look: dict[str, Any], label: str) -> None:
    """Draw a median of `resample` and its band, which ends at `top` where it is infinite."""
    drawn = line[np.isfinite(line["median"])]
    panel.plot(drawn["cost"], drawn["median"], label=label, **look)
    high = drawn["high"].where(np.isfinite(drawn["high"]), top)
    panel.fill_between(drawn["cost"], drawn["low"], high, color=look["color"], alpha=0.15, lw=0)
    if len(line):
        panel.set_ylabel(f"{line['metric'].iloc[0]}, test set")


def _lines(panel: Axes, lines: pd.DataFrame, styles: dict[str, dict[str, Any]]) -> None:
    for method, line in lines.groupby("method"):
        # The upper quantile is infinite once enough runs have failed.
        draw_line(panel, line, line["low"].max() * 1e3, styles[method], method)
    finite = lines[["low", "median", "high"]].to_numpy()
    finite = finite[np.isfinite(finite) & (finite > 0)]
    if len(finite):
        # A diverging method must not set the scale for the others.
        start = lines.groupby("method")["median"].first()
        top = min(finite.max(), 3 * start[np.isfinite(start)].max())
        panel.set_ylim(finite.min() / 1.3, top * 1.3)


def _ends(panel: Axes, ends: pd.DataFrame, least: float, styles: dict[str, dict[str, Any]]) -> None:
    """Mark where runs ended early; name those that have no point.

    An end above the panel, or left of the smallest cost of a logarithmic axis, is marked on the
    edge.
    """
    for (method, status), group in ends.dropna(subset=["value"]).groupby(["method", "status"]):
        mark, _, name = style.ENDS[status]
        value = np.minimum(group["value"], panel.get_ylim()[1])
        spent = np.maximum(group["cost"], least)
        panel.plot(spent, value, marker=mark, ls="", ms=7, zorder=4, clip_on=False,
                   color=styles[method]["color"], markeredgecolor="white")  # fmt: skip
        panel.plot([], [], marker=mark, ls="", ms=7, color="0.3", label=name)
    if lost := without_point(ends):
        panel.text(0.98, 0.97, "\n".join(["no point:", *lost]), transform=panel.transAxes,
                   ha="right", va="top", fontsize=7, color="0.3")  # fmt: skip


@style.styled
def plot_profile(table: pd.DataFrame, axis: str = "seconds") -> Figure:
    """Draw a table of `performance_profile`: share of targets against the factor to the fastest."""
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    panel = figure.subplots()
    styles = style.method_styles(table["method"], markers=False)
    end = max(2.0, table["ratio"].max() * 1.15)
    for method, line in table.groupby("method"):
        x, y = [*line["ratio"], end], [*line["fraction"], line["fraction"].iloc[-1]]
        panel.step(x, y, where="post", label=method, **styles[method])
    panel.set(xscale="log", xlim=(1, end), ylim=(0, 1.02), ylabel="share of targets reached")
    panel.set_xlabel(f"{COSTS[axis].words}, as a multiple of that of the fastest method")
    style.shared_legend(figure)
    style.figure_note(
        figure, "Targets of all cases, each case of equal weight; means, misses penalised."
    )
    return figure


@style.styled
def plot_ecdf(table: pd.DataFrame, axis: str = "seconds", columns: int = 3) -> Figure:
    """Draw a table of `ecdf`: share of (run, target) pairs reached by a time, a panel per case."""
    figure, panels = style.case_panels(table, columns)
    styles = style.method_styles(table["method"], markers=False)
    for case, panel, of_case in panels:
        for method, line in of_case.groupby("method"):
            panel.step(line["time"], line["fraction"], where="post", label=method, **styles[method])
        panel.set(ylim=(0, 1.02), title=case, xlabel=COSTS[axis].label)
        positive = of_case["time"][of_case["time"] > 0]
        if len(positive):  # what is reached at no cost lies left of the smallest one
            panel.set(xscale="log", xlim=(positive.min() / 1.25, positive.max()))
            style.plain_log_ticks(panel)
        panel.set_ylabel("share of (run, target)")
    style.shared_legend(figure)
    return figure


@style.styled
def feasibility_map(
    table: pd.DataFrame,
    columns: int = 3,
    *,
    limit: float | None = None,
    size_option: str = "size",
) -> Figure:
    """Draw which (size, batch) pairs fit into memory: a panel for each problem, mode and device.

    Columns of the table: problem, size, batch, mode (of the gradient), device, bytes (predicted),
    fits and, if cells were run, measured_bytes. A cell shows the memory that is predicted and, in
    italics, measured, all in one unit; one that does not fit is dark and crossed out. limit: the
    memory available, in bytes, stated below the figure. size_option: the option that sets the size.
    """
    figure, panels = style.case_panels(table, columns, by=["problem", "mode", "device"])
    colours = ListedColormap(["#4a4a4a", "#9ecae1"])
    norm = BoundaryNorm([-0.5, 0.5, 1.5], colours.N)
    table = table.reindex(columns=table.columns.union(["measured_bytes"]))
    unit, scale = memory_unit([*table["bytes"], *table["measured_bytes"]])
    for key, panel, group in panels:
        known = group.dropna(subset=["fits"]).drop_duplicates(["size", "batch"])
        fits = known.pivot(index="size", columns="batch", values="fits")
        panel.imshow(fits.astype(float), cmap=colours, norm=norm, aspect="auto", origin="lower")
        for cell in known.to_dict("records"):
            place = fits.columns.get_loc(cell["batch"]), fits.index.get_loc(cell["size"])
            _memory(panel, place, cell, scale, np.inf if limit is None else limit)
        panel.set_xticks(range(len(fits.columns)), [f"{v:g}" for v in fits.columns])
        panel.set_yticks(range(len(fits.index)), [f"{v:g}" for v in fits.index])
        panel.set_title(" · ".join(map(str, key)))
        panel.set(xlabel="batch_size (samples)", ylabel=size_option)
        panel.grid(visible=False)
    measured = ", in italics measured" if table["measured_bytes"].notna().any() else ""
    within = "" if limit is None else f" into {bytes_text(limit)}"
    style.figure_note(
        figure,
        f"Memory of a training program, predicted{measured}, in {unit}. Light: fits{within}; dark "
        "and crossed: does not.",
    )
    return figure


def _memory(
    panel: Axes, place: tuple[int, int], cell: dict[str, Any], scale: float, limit: float
) -> None:
    """Write the predicted memory into a cell of a map, and the measured one below it.

    A program is stopped beyond the limit: what was measured there is less than it needs.
    """
    x, y = place
    amounts = (cell["bytes"], cell.get("measured_bytes", np.nan))
    predicted, measured = ("" if pd.isna(b) else scaled_text(b / scale) for b in amounts)
    measured = f"> {measured}" if measured and amounts[1] > limit else measured
    look = {"ha": "center", "fontsize": 7, "color": "black" if cell["fits"] else "white"}
    text = predicted if cell["fits"] else f"× {predicted}"
    panel.text(x, y, text, va="bottom" if measured else "center", **look)
    if measured:
        panel.text(x, y, measured, va="top", style="italic", **look)
