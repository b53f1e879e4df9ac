"""Page: the document that a browser shows, brought up to date when the feed has changed."""

import heapq
from html import escape
from pathlib import Path
from typing import Any

from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import (
    CheckboxButtonGroup,
    Div,
    RadioButtonGroup,
    Row,
    Spacer,
)

from physopt.analysis.costs import COSTS, cost_label
from physopt.analysis.report import picture_uri
from physopt.analysis.style import method_styles
from physopt.analysis.watch.feed import Feed
from physopt.analysis.watch.lines import QUANTITIES, lines
from physopt.analysis.watch.panels import DASHES, Panel, keys
from physopt.records.units import seconds_text

DESIGNS = 8
"""Pictures of designs on a page, the newest first."""

ROWS = 200
"""Runs in the table."""

_LOOK_MS = 500
_SOFT = "color: #5b6875"
_GRID = {
    "display": "grid",
    "grid-template-columns": "repeat(auto-fill, minmax(min(26rem, 100%), 1fr))",
    "gap": "0.8rem 1.2rem",
}
_COLUMNS = (
    *("problem", "method", "seed", "status", "progress", "training", "error", "reason", "run"),
)
_CELL = "padding: 0.15rem 0.8rem 0.15rem 0; text-align: left; vertical-align: top"


class Page:
    """One document of the server: what a browser window shows of a feed."""

    def __init__(self, document: Document, feed: Feed):
        self._feed, self._version = feed, -1
        self._panels: dict[Any, Panel] = {}
        self._pictures: dict[tuple[str, int], str] = {}
        self._heading, self._methods, self._runs, self._designs = (
            Div(disable_math=True, sizing_mode="stretch_width", name=name)
            for name in ("heading", "methods", "runs", "designs")
        )
        names = [cost.words for cost in COSTS.values()]
        self._axis = RadioButtonGroup(labels=names, active=0, name="axis")
        self._quantity = RadioButtonGroup(labels=list(QUANTITIES), active=0, name="quantity")
        self._log_cost = CheckboxButtonGroup(labels=["log cost"], active=[], name="log-cost")
        self._nothing = Spacer(height=0)  # Bokeh warns of a layout without children
        self._grid = Row(styles=_GRID, sizing_mode="stretch_width", name="grid")
        for control in (self._axis, self._quantity, self._log_cost):
            control.on_change("active", lambda attr, old, new: self._draw())
        controls = row(self._axis, self._log_cost, self._quantity)
        body = (self._heading, controls, self._methods, self._grid, self._runs, self._designs)
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
        charts = [panel.chart for panel in self._panels.values()] or [self._nothing]
        if self._grid.children != charts:
            self._grid.children = charts
        left_out = len({line.case for line in drawn} - {key.case for key in wanted})
        self._heading.text = _heading(feed, left_out)
        self._methods.text = "".join(_swatch(name, style) for name, style in styles.items())
        newest = {line.folder: f"{line.y[-1]:.4g}" for line in drawn if len(line.y)}
        self._runs.text = _table(feed, newest)
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


def _table(feed: Feed, newest: dict[str, str]) -> str:
    """Return the table of runs: those that are running, then the newest."""
    runs = feed.runs()
    rows = []
    for run in runs.head(ROWS).to_dict("records"):
        progress = feed.progress[run["folder"]]
        cells = (
            *(run["case"], run["method"], f"{run['seed']:g}", run["status"], progress.text()),
            seconds_text(progress.seconds),
            newest.get(run["folder"], "–"),
            *(run["reason"], run["run_id"]),
        )
        rows.append("".join(f"<td style='{_CELL}'>{escape(str(cell))}</td>" for cell in cells))
    heads = "".join(f"<th style='{_CELL}; {_SOFT}'>{name}</th>" for name in _COLUMNS)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    more = f"<p>and {len(runs) - ROWS} more</p>" if len(runs) > ROWS else ""
    return f"<table style='border-collapse: collapse'><tr>{heads}</tr>{body}</table>{more}"
