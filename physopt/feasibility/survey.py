"""Survey: which sizes and batches can be trained on a device, by gradient mode, predicted.

A cell of the map is a (size, batch, mode). Its training program, the very one that `run` would
call, is compiled from shapes alone, in a process of its own, and the compiler says what memory it
needs: arguments + results + temporaries - results that take the place of arguments. Nothing is run
and nothing large is allocated. `confirm` then runs a few cells.

The table lies in out/problem/rule/feasibility_ID, where ID stands for everything that a cell's
program depends on but size, batch and mode. Each row is written at once: a map that was
interrupted, or is asked for more cells, goes on where it was.
"""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.feasibility.process import Answered, CellProcess
from physopt.feasibility.request import Cell, Request
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
"""Columns of feasibility.csv. bytes: predicted; fits: empty where nothing tells; reason: why there
is no prediction; seconds: of tracing and compiling; confirmed: how a run ended, at which limit."""

KEY = ["size", "batch", "mode"]
TABLE, PICTURE, RECORD = "feasibility.csv", "feasibility.png", "feasibility.json"


def survey(request: Request, note: Callable[[str], None]) -> pd.DataFrame:
    """Compile the cells that are not in the table yet; return the rows asked for.

    Raises Locked where another process is at it.
    """
    folder = request.folder
    with folder.held("map"), CellProcess() as process:
        folder.write(RECORD, {**request.base.record(), "device_kind": request.device.kind})
        table = read_table(folder.path, request.limit)
        known = {tuple(row) for row in table.loc[table["fits"].notna(), KEY].values.tolist()}
        left = [cell for cell in request.cells if cell[:3] not in known]
        note(_beginning(request, len(left)))
        for count, cell in enumerate(left, start=1):
            start = time.monotonic()
            answered = process.ask("compile", cell.words, request.options.timeout)
            row = _row(request, answered, time.monotonic() - start)
            table = updated(table, cell, row)
            folder.write_text(TABLE, table.to_csv(index=False))
            note(f"{count}/{len(left)}  {cell}: {_said(row)} ({seconds_text(row['seconds'])})")
    return asked_for(request, table)


def draw(request: Request, table: pd.DataFrame) -> Path | None:
    """Draw the cells of which it is known whether they fit; return the file, if there is one."""
    from physopt.analysis import feasibility_map

    known = table[table["fits"].notna()]
    if known.empty:
        return None
    path = request.folder.path / PICTURE
    feasibility_map(known.astype({"fits": bool}), limit=request.limit).savefig(path)
    return path


def asked_for(request: Request, table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table that a request asks for, in its order."""
    index = pd.MultiIndex.from_tuples([cell[:3] for cell in request.cells], names=KEY)
    return table.set_index(KEY).loc[index].reset_index()[list(COLUMNS)]


def _beginning(request: Request, left: int) -> str:
    limit, earlier = bytes_text(request.limit), len(request.cells) - left
    known = f", {earlier} known from before" if earlier else ""
    return f"{request.device.kind}, limit {limit}: {left} cells to compile{known}"


def _row(request: Request, answered: Answered, seconds: float) -> dict[str, Any]:
    """Return what is known of a cell that was compiled, or could not be."""
    needed, reason = answered.said.get("bytes"), answered.reason
    fits = None if needed is None else needed <= request.limit
    if answered.status == "ok" and needed is None:
        reason = "the compiler of this device says nothing of memory"
    elif answered.status in ("refused", "oom"):
        fits = False
        words = {"refused": "refused", "oom": "out of memory in the compiler"}
        reason = f"{words[answered.status]}: {reason}"
    return {
        "problem": request.problem,
        "device": request.device.kind,
        "bytes": math.nan if needed is None else float(needed),
        "fits": fits,
        "reason": reason,
        "seconds": round(seconds, 3),
    }


def _said(row: Mapping[str, Any]) -> str:
    if math.isnan(row["bytes"]):
        return row["reason"]
    return f"{bytes_text(row['bytes'])}, {'fits' if row['fits'] else 'does not fit'}"


def updated(table: pd.DataFrame, cell: Cell, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table with values set in the row of a cell, which is added if need be."""
    key = dict(zip(KEY, cell[:3], strict=True))
    rows = {tuple(row[name] for name in KEY): row for row in table.to_dict("records")}
    rows[cell[:3]] = {**rows.get(cell[:3], {}), **key, **values}
    return _typed(pd.DataFrame(list(rows.values()), columns=list(COLUMNS)))


def read_table(folder: Path, limit: float) -> pd.DataFrame:
    """Read the table of a folder, an empty one if there is none, for a limit in bytes."""
    try:
        table = pd.read_csv(folder / TABLE, keep_default_na=False, na_values=[""])
    except (FileNotFoundError, pd.errors.EmptyDataError):
        table = pd.DataFrame()
    table = _typed(table.reindex(columns=list(COLUMNS)))
    predicted = table["bytes"].notna()
    table.loc[predicted, "fits"] = table.loc[predicted, "bytes"] <= limit
    # What was confirmed at another limit says nothing about this one.
    stale = table["limit"] != limit
    table.loc[stale, "confirmed"] = ""
    table.loc[stale, ["limit", "measured_bytes"]] = math.nan
    return table


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    words = {name: "" for name, kind in COLUMNS.items() if kind == "str"}
    return table.astype(object).fillna(words).astype(COLUMNS)
