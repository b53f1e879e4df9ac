"""Text view: the runs below a folder and the newest curve, in a terminal."""

import pandas as pd
from rich.console import Group
from rich.table import Table
from rich.text import Text

from physopt.analysis.costs import COSTS
from physopt.analysis.watch.blocks import block_chart, block_curve
from physopt.analysis.watch.feed import Feed
from physopt.analysis.watch.lines import Line, lines

CURVE_WIDTH = 20
CHART_HEIGHT = 8

_OTHER_LINES = 9
"""Lines above and below the rows of the table and the chart."""


def text_view(feed: Feed, axis: str, width: int, height: int) -> Group:
    """Return what fits into a terminal of `height` rows of `width` characters."""
    parts = [Text(feed.counts())]
    runs = feed.runs()
    drawn = {line.folder: line for line in lines(feed.frame, axis)}
    rows = max(3, height - CHART_HEIGHT - _OTHER_LINES)
    if len(runs):
        parts.append(_table(feed, runs.head(rows), drawn))
    if len(runs) > rows:
        parts.append(Text(f"and {len(runs) - rows} more"))
    newest = next((drawn[f] for f in runs["folder"] if len(drawn[f].y)), None)
    if newest is not None:
        title = f"\n{newest.case} {newest.method}, seed {newest.seed:g}: {newest.metric}"
        chart = block_chart(newest.x, newest.y, max(20, width - 16), CHART_HEIGHT, COSTS[axis].unit)
        parts += [Text(title), *(Text(line, no_wrap=True) for line in chart)]
    if feed.remark:
        parts.append(Text(feed.remark))
    return Group(*parts)


def _table(feed: Feed, runs: pd.DataFrame, drawn: dict[str, Line]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("problem", "rule", "seed", "status", "", "curve", "error"):
        table.add_column(name, justify="right" if name in ("seed", "error") else "left")
    for run in runs.to_dict("records"):
        line = drawn[run["folder"]]
        cells = (
            *(run["case"], run["method"], f"{run['seed']:g}", run["status"]),
            run["reason"] or feed.progress[run["folder"]].text(),
            *(block_curve(line.x, line.y, CURVE_WIDTH) or [""]),
            f"{line.y[-1]:.3g}" if len(line.y) else "-",
        )
        table.add_row(*(Text(str(cell), no_wrap=True, overflow="ellipsis") for cell in cells))
    return table
