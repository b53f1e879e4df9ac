"""Style: the look of figures. Readable in grey, safe for the colour-blind, suited for print."""

import functools
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#222222"),
    *("#882255", "#999933", "#8c510a", "#8073ac"),
)
"""The palette of Okabe and Ito without its yellow, which is too light on white; two colours of
Tol's and two of Brewer's."""

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "X", ">", "h")

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

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Make a function draw in this style, without changing matplotlib's global settings."""

    @functools.wraps(draw)
    def drawing(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return drawing


def method_styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Assign each method a colour, a dash pattern and a marker, in alphabetical order.

    The three have different periods: 44 methods differ in colour or dashes.
    """
    looks = zip(cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    names = ("color", "ls", "marker")
    return {
        method: {**dict(zip(names, look, strict=True)), "ms": 4.5, "markeredgewidth": 1.2}
        for method, look in zip(sorted(set(methods)), looks, strict=False)
    }


def case_axes(
    cases: Iterable[str], *, rows: int = 1, columns: int | None = None
) -> tuple[Figure, np.ndarray]:
    """Make a figure with a column of axes for each case; `columns` folds one row into several.

    Returns the figure and axes [rows, columns]; axes without a case are switched off.
    """
    count = max(1, len(list(cases)))
    if columns is not None and rows == 1:
        rows, across = -(-count // columns), min(count, columns)
    else:
        across = count
    figure = Figure(figsize=(3.5 * across + 1.5, 2.6 * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, across, squeeze=False)
    for spare in axes.flat[count:] if columns is not None else ():
        spare.set_axis_off()
    return figure, axes


def shared_legend(figure: Figure, axes: Iterable[Axes], title: str | None = None) -> Legend:
    """Place one legend for all axes beside them; equal names appear once."""
    entries = {}
    for panel in axes:
        handles, names = panel.get_legend_handles_labels()
        entries.update(zip(names, handles, strict=True))
    legend = figure.legend(entries.values(), entries.keys(), loc="outside right upper", title=title)
    legend.set_alignment("left")
    return legend


def plain_log_ticks(axes: Axes) -> None:
    """Label a logarithmic axis of less than a decade with plain numbers: 6, not 6 x 10^0."""
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        low, high = sorted(limits)
        if axis.get_scale() == "log" and 0 < high < 10 * low:
            for which in (axis.set_major_formatter, axis.set_minor_formatter):
                which(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axis.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 4, 5, 6, 8)))


def figure_note(figure: Figure, text: str) -> None:
    """Write a note below a figure."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7.5, color="0.35", wrap=True)
