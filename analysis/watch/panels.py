"""Panels: the charts of a page, one for each problem or for each method of the only problem."""

import math
from typing import Any, NamedTuple

from bokeh.core.properties import field
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LogAxis,
    PlainText,
    Range1d,
    Span,
    Title,
)
from bokeh.plotting import figure

from physopt.analysis.report.data import DASHES
from physopt.analysis.style import ENDS
from physopt.analysis.watch.feed import RUNNING
from physopt.analysis.watch.lines import Line, extent

MOST = 24
"""Panels on a page."""

_SOFT, _FAINT, _GREY = "#5b6875", "#e6ebef", "#d3dae0"
_FACTORS = ((2.5, (1,)), (1.2, (1, 3)), (0.0, (1, 1.5, 2, 3, 4, 5, 7)))
_NARROW = 0.5


class Key(NamedTuple):
    """What a panel is made for: another key needs another panel."""

    case: str
    method: str | None
    """The method that is shown in its colour, the others in grey; None shows all in theirs."""
    metric: str
    cost: str
    """Label of the axis of costs."""
    log_cost: bool
    log_value: bool
    target: float | None


def keys(drawn: list[Line], targets: dict[str, float], label: str, log_cost: bool) -> list[Key]:
    """Return the panels of a page.

    One for each problem; for a single problem also one for each of its methods. targets: {case:
    value of the metric at which the problem counts as solved}.
    """
    cases: dict[str, list[Line]] = {}
    for line in drawn:
        cases.setdefault(line.case, []).append(line)
    panels = []
    for case, of_case in cases.items():
        positive = all(line.y.min() > 0 for line in of_case if len(line.y))
        names = sorted({line.method for line in of_case}) if len(cases) == 1 else []
        for method in (None, *(names if len(names) > 1 else ())):
            metric, target = of_case[0].metric, targets.get(case)
            panels.append(Key(case, method, metric, label, log_cost, positive, target))
    return panels[:MOST]


class Panel:
    """A chart with a line for each run of a problem, which `show` brings up to date."""

    def __init__(self, key: Key):
        self.key = key
        self.chart = figure(
            height=300, sizing_mode="stretch_width", tools="pan,wheel_zoom,box_zoom,reset,save",
            x_axis_type="log" if key.log_cost else "linear",
            y_axis_type="log" if key.log_value else "linear",
            x_range=_range(), y_range=_range(), name="panel",
        )  # fmt: skip
        self._grey, self._lines, self._ends = (ColumnDataSource() for _ in range(3))
        _style(self.chart, key)
        _draw(self.chart, self._grey, self._lines, self._ends)

    def show(self, drawn: list[Line], styles: dict[str, dict[str, Any]]) -> None:
        """Draw the lines of the panel's problem."""
        of_case = [line for line in drawn if line.case == self.key.case and len(line.y)]
        positive = [line.x[line.x > 0] if self.key.log_cost else line.x for line in of_case]
        costs = [x for x in positive if len(x)]
        low, high = extent(of_case) or (1.0, 1.0)
        if costs:
            first, last = min(x[0] for x in costs), max(x[-1] for x in costs)
            _move(self.chart.x_range, first, last, self.key.log_cost)
            _move(self.chart.y_range, low, high, self.key.log_value)
        method = self.key.method
        own = [line for line in of_case if method in (None, line.method)]
        self._grey.data = _points([line for line in of_case if method not in (None, line.method)])
        looks = [styles[line.method] for line in own]
        about = {
            "method": [line.method for line in own],
            "seed": [f"{line.seed:g}" for line in own],
            "status": [f"{line.status} {line.reason}" for line in own],
            "newest": [f"{line.y[-1]:.4g}" for line in own],
            "colour": [look["color"] for look in looks],
        }
        dashes = [DASHES[look["ls"]] for look in looks]
        self._lines.data = {**_points(own), "dash": dashes, **about}
        self._ends.data = {**_marks(own, high, about["colour"]), **about}


def _points(drawn: list[Line]) -> dict[str, list[Any]]:
    return {"x": [line.x.tolist() for line in drawn], "y": [line.y.tolist() for line in drawn]}


def _marks(drawn: list[Line], top: float, colours: list[str]) -> dict[str, list[Any]]:
    """Return the marks at the ends of lines: filled while running, large unless completed."""
    return {
        "x": [line.x[-1] for line in drawn],
        "y": [min(line.y[-1], top) for line in drawn],
        "mark": ["circle" if _well(line) else ENDS[line.status][1] for line in drawn],
        "size": [4 if _well(line) and line.status != RUNNING else 9 for line in drawn],
        "fill": [
            colour if _well(line) else "white" for line, colour in zip(drawn, colours, strict=True)
        ],
    }


def _well(line: Line) -> bool:
    return line.status == RUNNING or line.status not in ENDS


def _style(chart: figure, key: Key) -> None:
    """Give a chart the look of the report's."""
    # PlainText: a name in a record must not be taken for a formula.
    title = key.case if key.method is None else f"{key.case}: {key.method}"
    chart.title = Title(text=PlainText(text=title))
    chart.outline_line_color = chart.border_fill_color = None
    chart.toolbar.autohide, chart.toolbar.logo = True, None
    labels = (PlainText(text=key.cost), PlainText(text=key.metric))
    for axis, label in zip((chart.xaxis[0], chart.yaxis[0]), labels, strict=True):
        axis.axis_label = label
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_color = axis.major_label_text_color = _SOFT
        axis.axis_line_color = axis.major_tick_line_color = "#9aa7b3"
        axis.minor_tick_line_color = None
    for grid, axis, extent_of in (
        (chart.xgrid[0], chart.xaxis[0], chart.x_range),
        (chart.ygrid[0], chart.yaxis[0], chart.y_range),
    ):
        grid.grid_line_color = _FAINT
        if isinstance(axis, LogAxis):
            axis.ticker = grid.ticker = _log_ticker(extent_of)
    if key.target is not None and (key.target > 0 or not key.log_value):
        solved = Span(location=key.target, dimension="width", line_color=_SOFT, line_dash=[1, 3])
        chart.add_layout(solved)


def _draw(chart: figure, *sources: ColumnDataSource) -> None:
    grey, lines, ends = sources
    chart.multi_line("x", "y", source=grey, line_color=_GREY)
    colour = field("colour")
    drawn = chart.multi_line(
        "x", "y", source=lines, line_color=colour, line_dash=field("dash"), line_width=1.7
    )
    marked = chart.scatter(
        "x", "y", source=ends, marker=field("mark"), size=field("size"), line_color=colour,
        fill_color=field("fill"), line_width=1.7,
    )  # fmt: skip
    about = [(name, f"@{name}") for name in ("method", "seed", "status", "newest")]
    chart.add_tools(HoverTool(renderers=[drawn, marked], tooltips=about))


def _range() -> Range1d:
    return Range1d(start=0.1, end=1, reset_start=0.1, reset_end=1)


def _log_ticker(extent_of: Range1d) -> FixedTicker:
    """Return ticks that follow a range: the library labels few of an axis below two decades."""
    ticker = FixedTicker()

    def follow(attr: str, old: float, new: float) -> None:
        ticker.ticks = log_ticks(extent_of.start, extent_of.end)

    extent_of.on_change("end", follow)
    extent_of.on_change("start", follow)
    return ticker


def log_ticks(low: float, high: float) -> list[float]:
    """Return the ticks of a logarithmic axis: about eight powers of ten, or multiples of them."""
    if not 0 < low < high < math.inf:
        return []
    decades = math.log10(high / low)
    if decades < _NARROW:  # nearly linear
        unit = 10.0 ** math.floor(math.log10((high - low) / 3))
        step = next(unit * factor for factor in (5, 2, 1) if unit * factor <= (high - low) / 3)
        ticks = [float(f"{k * step:.12g}") for k in range(int(low / step), int(high / step) + 1)]
    else:
        factors = next(factors for least, factors in _FACTORS if decades > least)
        step = max(1, math.ceil(decades / 8))
        first = step * math.floor(math.log10(low) / step)
        powers = range(first, math.floor(math.log10(high)) + 1, step)
        ticks = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [tick for tick in ticks if low <= tick <= high]


def _move(extent_of: Any, low: float, high: float, logarithmic: bool) -> None:
    """Move a range to values with a margin, unless the user has moved it."""
    if logarithmic:
        start, end = low / 1.25, high * 1.25
    else:
        room = 0.05 * (high - low or abs(high) or 1.0)
        start, end = low - room, high + room
    if (extent_of.start, extent_of.end) == (extent_of.reset_start, extent_of.reset_end):
        extent_of.update(start=start, end=end)
    extent_of.update(reset_start=start, reset_end=end)
