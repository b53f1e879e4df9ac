"""Page: the document that a browser shows, brought up to date when the feed has changed."""

import heapq
from html import escape
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    CheckboxButtonGroup,
    ColumnDataSource,
    DataTable,
    Div,
    RadioButtonGroup,
    Row,
    TableColumn,
)

from physopt.analysis.costs import COSTS, cost_label
from physopt.analysis.report import picture_uri
from physopt.analysis.style import method_styles
from physopt.analysis.watch.feed import Feed
from physopt.analysis.watch.lines import QUANTITIES, lines
from physopt.analysis.watch.panels import DASHES, Panel, keys

DESIGNS = 8
"""Pictures of designs on a page, the newest first."""

_LOOK_MS = 500
_SOFT = "color: #5b6875"
_GRID = {
    "display": "grid",
    "grid-template-columns": "repeat(auto-fill, minmax(min(26rem, 100%), 1fr))",
    "gap": "0.8rem 1.2rem",
}
_COLUMNS = {
    "problem": 130, "method": 200, "seed": 50, "status": 80, "progress": 220, "training": 80,
    "error": 90, "reason": 360, "run": 120,
}  # fmt: skip


class Page:
    """One document of the server: what a browser window shows of a feed."""

    def __init__(self, document: Document, feed: Feed):
        self._feed, self._version = feed, -1
        self._panels: dict[Any, Panel] = {}
        self._pictures: dict[tuple[str, int], str] = {}
        self._heading, self._methods, self._designs = (
            Div(disable_math=True, sizing_mode="stretch_width", name=name)
            for name in ("heading", "methods", "designs")
        )
        names = [cost.words for cost in COSTS.values()]
        self._axis = RadioButtonGroup(labels=names, active=0, name="axis")
        self._quantity = RadioButtonGroup(labels=list(QUANTITIES), active=0, name="quantity")
        self._log_cost = CheckboxButtonGroup(labels=["log cost"], active=[], name="log-cost")
        self._grid = Row(styles=_GRID, sizing_mode="stretch_width", name="grid")
        self._runs = ColumnDataSource(name="runs")
        for control in (self._axis, self._quantity, self._log_cost):
            control.on_change("active", lambda attr, old, new: self._draw())
        columns = [TableColumn(field=n, title=n, width=w) for n, w in _COLUMNS.items()]
        table = DataTable(
            source=self._runs, columns=columns, index_position=None, height=320,
            sizing_mode="stretch_width",
        )  # fmt: skip
        controls = row(self._axis, self._log_cost, self._quantity)
        body = (self._heading, controls, self._methods, self._grid, table, self._designs)
        document.title = f"physopt: {feed.root.absolute().name}"
        document.add_root(column(*body, sizing_mode="stretch_width", styles={"padding": "1rem"}))
        document.add_periodic_callback(self.refresh, _LOOK_MS)
        self.refresh()

    def refresh(self) -> None:
        """Bring the document up to date if the feed has changed."""
        if self._version != self._feed.version:
            self._version = self._feed.version
            self._draw()

    def _draw(self) -> None:
        feed = self._feed
        axis = list(COSTS)[self._axis.active or 0]
        drawn = lines(feed.frame, axis, QUANTITIES[self._quantity.active or 0])
        styles = method_styles(feed.frame["method"], markers=False)
        targets = feed.frame.dropna(subset=["target_value"]).groupby("case")["target_value"].first()
        solved = {} if self._quantity.active else targets.to_dict()
        wanted = keys(drawn, solved, cost_label(axis), bool(self._log_cost.active))
        self._panels = {key: self._panels.get(key) or Panel(key) for key in wanted}
        for panel in self._panels.values():
            panel.show(drawn, styles)
        charts = [panel.chart for panel in self._panels.values()]
        if self._grid.children != charts:
            self._grid.children = charts
        left_out = len({line.case for line in drawn} - {key.case for key in wanted})
        self._heading.text = _heading(feed, left_out)
        self._methods.text = "".join(_swatch(name, style) for name, style in styles.items())
        newest = {line.folder: f"{line.y[-1]:.4g}" for line in drawn if len(line.y)}
        self._runs.data = _table(feed, newest)
        self._designs.text = self._design_figures(newest)

    def _design_figures(self, newest: dict[str, str]) -> str:
        """Return the newest pictures of designs."""
        progress = self._feed.progress
        drawn = {folder: p.drawn for folder, p in progress.items() if p.drawn is not None}
        shown = heapq.nlargest(DESIGNS, drawn, key=drawn.__getitem__)
        runs = self._feed.runs().set_index("folder")
        pictures, figures = {}, []
        for folder in shown:
            state = (folder, drawn[folder])
            uri = self._pictures.get(state) or picture_uri(Path(folder, "figure.png"))
            if uri is None:
                continue
            pictures[state], run = uri, runs.loc[folder]
            about = f"{run['method']}, seed {run['seed']:g}, {newest.get(folder, 'no error')}"
            figures.append(
                f"<figure style='margin: 0'><figcaption><b>{escape(run['case'])}</b> "
                f"{escape(about)}</figcaption><img src='{uri}' style='max-width: 100%'></figure>"
            )
        self._pictures = pictures
        style = "; ".join(f"{name}: {value}" for name, value in _GRID.items())
        return f"<h2>Designs</h2><div style='{style}'>{''.join(figures)}</div>" if figures else ""


def _heading(feed: Feed, left_out: int) -> str:
    more = f"{left_out} more problems have no chart here; the report has them all" * bool(left_out)
    remarks = "".join(f"<p>{escape(text)}</p>" for text in (feed.remark, more) if text)
    return (
        f"<h1 style='margin: 0; font-size: 1.7rem'>{escape(feed.root.absolute().name)}</h1>"
        f"<p style='{_SOFT}'>{escape(feed.counts())}</p>{remarks}"
    )


def _swatch(method: str, style: dict[str, Any]) -> str:
    """Return the name of a method with its line."""
    dashes = " ".join(map(str, DASHES[style["ls"]]))
    return (
        "<span style='white-space: nowrap; margin-right: 1.2rem'><svg width='30' height='8'>"
        f"<line x1='0' x2='30' y1='4' y2='4' stroke='{style['color']}' stroke-width='2.5' "
        f"stroke-dasharray='{dashes}'/></svg> {escape(method)}</span>"
    )


def _table(feed: Feed, newest: dict[str, str]) -> dict[str, list[str]]:
    """Return the columns of the table of runs."""
    runs = feed.runs()
    progress = [feed.progress[folder] for folder in runs["folder"]]
    return {
        "problem": runs["case"].tolist(),
        "method": runs["method"].tolist(),
        "seed": [f"{seed:g}" for seed in runs["seed"]],
        "status": runs["status"].tolist(),
        "progress": [p.text() for p in progress],
        "training": [f"{p.seconds:.3g} s" for p in progress],
        "error": [newest.get(folder, "–") for folder in runs["folder"]],
        "reason": runs["reason"].tolist(),
        "run": runs["run_id"].tolist(),
    }
