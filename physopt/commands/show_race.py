"""Table of the ranking of a race."""

import math
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from physopt.analysis.ranking import Standing
from physopt.training.display import console


def show_ranking(standings: Sequence[Standing], labels: Mapping[str, str], seconds: str) -> None:
    """Print the standings of the last round, best first.

    labels: {method: name with its step size}. seconds: the training time, with its unit.
    """
    table = Table(box=None, pad_edge=False)
    table.title, table.title_justify = f"after {seconds} of training each", "left"
    table.add_column("rule", overflow="fold")
    for name in ("error", "over the best", "interval", "failed"):
        table.add_column(name, justify="right")
    table.add_column("")
    for place, standing in enumerate(standings):
        known = not math.isnan(standing.low)
        interval = f"{standing.low:.3g} to {standing.high:.3g}" if known else "-"
        table.add_row(
            escape(labels.get(standing.method, standing.method)),
            f"{standing.median:.3g}",
            f"{standing.ratio:.3g}",
            interval,
            f"{standing.failed} of {standing.seeds}",
            "best" if place == 0 else "sure" if standing.sure else "not distinguishable",
        )
    console().print(table)
