"""Map: which sizes and batches a device can train, by gradient mode, predicted and confirmed.

`survey` compiles the training program of each cell (size, batch, mode), the program that `run`
would execute, from shapes alone in a subprocess; the compiler reports the memory that it needs:
arguments + results + temporaries - results that alias arguments. Nothing large is allocated.
`confirm` then runs the cells nearest to the limit for one update each. On a CPU the limit stands
for the device's memory, and the process is killed when its program holds more; on an accelerator
JAX's allocator gets no more than the limit.

The table lies in out/problem/rule/feasibility_ID. ID stands for everything that a program depends
on except size, batch and mode. Each row is written at once, so that a map that was interrupted
resumes, and a larger one extends it.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from physopt.feasibility.process import Answered, CellProcess
from physopt.feasibility.request import Cell, Device, Request
from physopt.records.units import bytes_text, seconds_text

COLUMNS = {
    "problem": "str",
    "size": "int64",
    "batch": "int64",
    "mode": "str",
    "device": "str",
    "bytes": "float64",
    "fits": "boolean",
    "reason": "str",
    "seconds": "float64",
    "confirmed": "str",
    "limit": "float64",
    "measured_bytes": "float64",
}
"""Columns of feasibility.csv. bytes: predicted; fits: empty if unknown; reason: why there is no
prediction; seconds: of tracing and compiling; confirmed: how a run ended, at which limit."""

KEY = ["size", "batch", "mode"]
TABLE, PICTURE, RECORD = "feasibility.csv", "feasibility.png", "feasibility.json"

RAN, EXHAUSTED = "ran", "out of memory"
"""Values of `confirmed` if a run decided whether the cell fits."""

_SHARES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")  # new and old; never both
_DEFAULT_SHARE = 0.75

Note = Callable[[str], None]


def survey(request: Request, note: Note) -> pd.DataFrame:
    """Compile the cells that the table lacks; return the requested rows.

    Raises Locked if another process is working on the map.
    """
    folder = request.folder
    with folder.held("map"), CellProcess() as process:
        folder.write(RECORD, {**request.base.record(), "device_kind": request.device.kind})
        table = read_table(folder.path, request.limit)
        known = {tuple(row) for row in table.loc[table["fits"].notna(), KEY].values.tolist()}
        left = [cell for cell in request.cells if cell.key not in known]
        earlier = len(request.cells) - len(left)
        note(
            f"{request.device.kind}, limit {bytes_text(request.limit)}: {len(left)} cells to "
            f"compile{f', {earlier} known from before' if earlier else ''}"
        )
        for count, cell in enumerate(left, start=1):
            start = time.monotonic()
            answered = process.ask("compile", cell.config, request.options.timeout)
            row = _prediction(request, answered, time.monotonic() - start)
            table = _updated(table, cell, row)
            folder.write_text(TABLE, table.to_csv(index=False))
            outcome = row["reason"]
            if not math.isnan(row["bytes"]):
                fits = "fits" if row["fits"] else "does not fit"
                outcome = f"{bytes_text(row['bytes'])}, {fits}"
            note(f"{count}/{len(left)}  {cell}: {outcome} ({seconds_text(row['seconds'])})")
    return _requested(request, table)


def confirm(request: Request, table: pd.DataFrame, note: Note) -> pd.DataFrame:
    """Run the cells nearest to the limit that have not been run; return the requested rows."""
    cells = {cell.key: cell for cell in request.cells}
    done = set(map(tuple, table.loc[table["confirmed"] != "", KEY].values.tolist()))
    nearest = sample(table, request.limit, request.options.confirm)
    left = [cells[key] for key in nearest if key not in done]
    environment = allocator_environment(request.device, request.limit)
    watched = request.limit if request.device.platform == "cpu" else None
    folder = request.folder
    with folder.held("map"):
        table = read_table(folder.path, request.limit)
        for count, cell in enumerate(left, start=1):
            with CellProcess(environment) as process:
                answered = process.ask("run", cell.config, request.options.timeout, watched)
            row = _confirmation(request, answered)
            table = _updated(table, cell, row)
            folder.write_text(TABLE, table.to_csv(index=False))
            measured = row["measured_bytes"]
            memory = "" if math.isnan(measured) else f", {bytes_text(measured)} measured"
            note(f"run {count}/{len(left)}  {cell}: {row['confirmed']}{memory}")
    return _requested(request, table)


def sample(table: pd.DataFrame, limit: float, count: int) -> list[tuple[int, int, str]]:
    """Return the keys of the cells to run: alternately from both sides of the limit, nearest first.

    Every mode has one turn before any has a second.
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


def allocator_environment(device: Device, limit: float) -> dict[str, str]:
    """Return the environment in which JAX takes no more of an accelerator than the limit."""
    if device.held is None or limit >= device.held:
        return {}
    name = next((name for name in _SHARES if os.environ.get(name)), _SHARES[0])
    share = float(os.environ.get(name) or _DEFAULT_SHARE)
    return {name: f"{share * limit / device.held:.6f}"}


def draw(request: Request, table: pd.DataFrame) -> Path | None:
    """Draw the cells with a prediction; return the file, None if there is no such cell."""
    from physopt.analysis import feasibility_map

    known = table[table["fits"].notna()]
    if known.empty:
        return None
    path = request.folder.path / PICTURE
    feasibility_map(known.astype({"fits": bool}), limit=request.limit).savefig(path)
    return path


def read_table(folder: Path, limit: float) -> pd.DataFrame:
    """Read the table of a folder, empty if there is none, for a limit in bytes."""
    try:
        table = pd.read_csv(folder / TABLE, keep_default_na=False, na_values=[""])
    except (FileNotFoundError, pd.errors.EmptyDataError):
        table = pd.DataFrame()
    table = _typed(table.reindex(columns=list(COLUMNS)))
    predicted = table["bytes"].notna()
    table.loc[predicted, "fits"] = table.loc[predicted, "bytes"] <= limit
    # A run within another limit does not decide whether the cell fits into this one.
    stale = table["limit"] != limit
    table.loc[stale, "confirmed"] = ""
    table.loc[stale, ["limit", "measured_bytes"]] = math.nan
    return table


def _prediction(request: Request, answered: Answered, seconds: float) -> dict[str, Any]:
    """Return the columns of a cell that was compiled, or could not be."""
    needed, reason = answered.answer.get("bytes"), answered.reason
    fits = None if needed is None else needed <= request.limit
    if answered.status == "ok" and needed is None:
        reason = "the compiler of this device reports no memory"
    elif answered.status in ("refused", "oom"):
        fits = False
        causes = {"refused": "refused", "oom": "out of memory in the compiler"}
        reason = f"{causes[answered.status]}: {reason}"
    return {
        "problem": request.problem,
        "device": request.device.kind,
        "bytes": math.nan if needed is None else float(needed),
        "fits": fits,
        "reason": reason,
        "seconds": round(seconds, 3),
    }


def _confirmation(request: Request, answered: Answered) -> dict[str, Any]:
    """Return the columns of a cell that was run: its end, the limit and the memory measured."""
    measured = max(answered.answer.get("measured") or 0.0, answered.peak)
    outcome = {"ok": RAN if measured <= request.limit else EXHAUSTED, "oom": EXHAUSTED}
    return {
        "confirmed": outcome.get(answered.status, answered.reason),
        "limit": request.limit,
        "measured_bytes": measured or math.nan,
    }


def _requested(request: Request, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are requested, in the order of the request."""
    index = pd.MultiIndex.from_tuples([cell.key for cell in request.cells], names=KEY)
    return table.set_index(KEY).loc[index].reset_index()[list(COLUMNS)]


def _updated(table: pd.DataFrame, cell: Cell, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table with values set in the row of a cell, adding the row if it is missing."""
    key = dict(zip(KEY, cell.key, strict=True))
    rows = {tuple(row[name] for name in KEY): row for row in table.to_dict("records")}
    rows[cell.key] = {**rows.get(cell.key, {}), **key, **values}
    return _typed(pd.DataFrame(list(rows.values()), columns=list(COLUMNS)))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    empty = {name: "" for name, kind in COLUMNS.items() if kind == "str"}
    return table.astype(object).fillna(empty).astype(COLUMNS)
