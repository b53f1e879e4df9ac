"""Style: the look of figures. Readable in grey, safe for the colour-blind, suited for print."""

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222"),
    *("#882255", "#999933", "#8c510a", "#8073ac"),
)
"""The palette of Okabe and Ito without its yellow, which is too light on white; two colours of
Tol's and two of Brewer's."""

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "X", ">", "h")

ENDS = {
    "diverged": ("X", "x", "diverged"),
    "oom": ("s", "square", "out of memory"),
    "timeout": ("|", "dash", "out of time"),
    "error": ("P", "cross", "broke with an error"),
    "interrupted": (">", "triangle", "interrupted"),
    "running": (">", "triangle", "still running"),
    "damaged": ("d", "diamond", "damaged records"),
}
"""Marks of runs that did not complete: for matplotlib, for Bokeh, and their name in the legend."""

TARGET = "target"
"""Name in the legend of the value at which a problem counts as solved."""

REFERENCES = (*(name for *_, name in ENDS.values()), TARGET)
"""Entries of a legend that follow those of methods, in this order."""

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "lines.linewidth": 1.6,
    "savefig.dpi": 200,
    "figure.dpi": 110,
}

styled = mpl.rc_context(RC)
"""Decorator: draw in this style, without changing matplotlib's global settings."""


def method_styles(methods: Iterable[str], *, markers: bool = True) -> dict[str, dict[str, Any]]:
    """Assign each method a colour, a dash pattern and a marker, in alphabetical order.

    The three have different periods: 44 methods differ in colour or dashes.
    """
    looks = zip(sorted(set(methods)), cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    size = {"ms": 4.5, "markeredgewidth": 1.2}
    return {
        method: {"color": colour, "ls": dashes, **({"marker": marker, **size} if markers else {})}
        for method, colour, dashes, marker in looks
    }


def case_panels(
    table: pd.DataFrame, columns: int, by: str | list[str] = "case"
) -> tuple[Figure, list[tuple[Any, Axes, pd.DataFrame]]]:
    """Make a figure with a panel for each case, `columns` in a row.

    Returns the figure, and for each case its key in `by`, its panel and its rows of the table.
    """
    groups = list(table.groupby(by, sort=False))
    count = max(1, len(groups))
    rows, across = -(-count // columns), min(count, columns)
    figure = Figure(figsize=(3.5 * across + 1.5, 2.6 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, across, squeeze=False)
    for spare in axes.flat[count:]:
        spare.set_axis_off()
    panels = zip(groups, axes.flat, strict=False)
    return figure, [(case, panel, of_case) for (case, of_case), panel in panels]


def shared_legend(
    figure: Figure, title: str | None = None, references: Sequence[str] = REFERENCES
) -> None:
    """Place one legend for all axes of a figure beside them: methods, then references.

    Equal names appear once.
    """
    entries = {}
    for panel in figure.axes:
        handles, names = panel.get_legend_handles_labels()
        entries.update(zip(names, handles, strict=True))
    order = {name: place for place, name in enumerate(references, start=1)}
    names = sorted(entries, key=lambda name: (order.get(name, 0), name))
    handles = [entries[name] for name in names]
    legend = figure.legend(handles, names, loc="outside right upper", title=title)
    legend.set_alignment("left")


def plain_log_ticks(axes: Axes) -> None:
    """Label a logarithmic axis of few decades between its powers of ten too, in plain numbers.

    Below a decade: 1, 1.5, 2, 3, 4, 5, 6, 8; up to two and a half: 1, 2, 5. Numbers below 1/1000
    or from 100,000 on are written as powers: 2 x 10^-5.
    """
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        low, high = sorted(limits)
        if axis.get_scale() != "log" or not 0 < high < 300 * low:
            continue
        factors = (1.5, 2, 3, 4, 5, 6, 8) if high < 10 * low else (2, 5)
        powers = LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(np.inf, np.inf))
        plain = low >= 1e-3 and high < 1e5
        axis.set_minor_locator(LogLocator(subs=factors))
        for set_formatter in (axis.set_major_formatter, axis.set_minor_formatter):
            set_formatter("{x:g}" if plain else powers)


def figure_note(figure: Figure, text: str) -> None:
    """Write a note below a figure."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, color="0.35", wrap=True)
