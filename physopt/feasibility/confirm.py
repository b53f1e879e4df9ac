"""Confirm: cells on both sides of the limit, run.

Each runs one update in a process of its own. On a CPU the limit stands for the device's memory: the
process is killed when its training program is seen to hold more. On an accelerator JAX's allocator
gets no more than the limit, and refuses what goes beyond.
"""

import math
import os
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from physopt.feasibility.process import Answered, CellProcess
from physopt.feasibility.request import Cell, Device, Request
from physopt.feasibility.survey import KEY, TABLE, asked_for, read_table, updated
from physopt.records.units import bytes_text

RAN, EXHAUSTED = "ran", "out of memory"
"""What `confirmed` says where a run decided whether a cell fits."""

_SHARES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # new and old; never both
_DEFAULT_SHARE = 0.75


def confirm(request: Request, table: pd.DataFrame, note: Callable[[str], None]) -> pd.DataFrame:
    """Run the cells nearest to the limit that have not been run; return the table with them."""
    cells = {cell[:3]: cell for cell in request.cells}
    chosen = [cells[key] for key in sample(table, request.limit, request.options.confirm)]
    done = set(map(tuple, table.loc[table["confirmed"] != "", KEY].values.tolist()))
    left = [cell for cell in chosen if cell[:3] not in done]
    folder = request.folder
    with folder.held("map"):
        table = read_table(folder.path, request.limit)
        for count, cell in enumerate(left, start=1):
            answered = _run(request, cell)
            row = _row(request, answered)
            table = updated(table, cell, row)
            folder.write_text(TABLE, table.to_csv(index=False))
            seen = row["measured_bytes"]
            measured = "" if math.isnan(seen) else f", {bytes_text(seen)} measured"
            note(f"run {count}/{len(left)}  {cell}: {row['confirmed']}{measured}")
    return asked_for(request, table)


def sample(table: pd.DataFrame, limit: float, count: int) -> list[tuple[int, int, str]]:
    """Return the keys of the cells to run: from both sides of the limit in turn, the nearest first.

    All modes have their turn before one of them has a second.
    """
    known = table[table["bytes"].notna()].assign(
        distance=lambda t: np.abs(np.log(t["bytes"].clip(lower=1.0) / limit))
    )
    sides = []
    for fits in (True, False):
        side = known[known["fits"] == fits].sort_values("distance", kind="stable")
        turn = side.groupby("mode").cumcount()
        side = side.assign(turn=turn).sort_values(["turn", "distance"], kind="stable")
        sides.append(list(side[KEY].itertuples(index=False, name=None)))
    both = [key for pair in zip_longest(*sides) for key in pair if key is not None]
    return both[:count]


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a run decided, with a column `right`: the prediction held."""
    decided = table[table["confirmed"].isin([RAN, EXHAUSTED])]
    return decided.assign(right=(decided["confirmed"] == RAN) == decided["fits"].astype(bool))


def _run(request: Request, cell: Cell) -> Answered:
    environment = allocator_environment(request.device, request.limit)
    watched = request.limit if request.device.platform == "cpu" else None
    with CellProcess(environment) as process:
        return process.ask("run", cell.words, request.options.timeout, watched)


def allocator_environment(device: Device, limit: float) -> dict[str, str]:
    """Return the environment in which JAX takes no more of an accelerator than the limit."""
    if device.held is None or limit >= device.held:
        return {}
    name = next((name for name in _SHARES if os.environ.get(name)), _SHARES[0])
    share = float(os.environ.get(name) or _DEFAULT_SHARE)
    return {name: f"{share * limit / device.held:.6f}"}


def _row(request: Request, answered: Answered) -> dict[str, Any]:
    """Return what a run showed: how it ended, at which limit, and the memory that was seen."""
    measured = answered.said.get("measured")
    measured = answered.peak if measured is None else max(measured, answered.peak)
    if answered.status == "ok":
        outcome = RAN if measured <= request.limit else EXHAUSTED
    elif answered.status == "oom":
        outcome = EXHAUSTED
    else:
        outcome = answered.reason
    return {
        "confirmed": outcome,
        "limit": request.limit,
        "measured_bytes": measured or math.nan,
    }
