"""Map: which sizes and batches a device can train, by gradient mode, predicted and confirmed.

The training program of each cell (size, batch, mode), the one that `run` would execute, is compiled
from shapes alone in a subprocess; the compiler reports the memory that it needs: arguments +
results + temporaries - results that alias arguments. Nothing large is allocated, and a compiler
that crashes costs a row. The cells nearest to the limit are then run for one update each. On a CPU
the limit stands for the device's memory, and the process is killed when its program holds more; on
an accelerator JAX's allocator gets no more than the limit.

The table lies in out/problem/rule/feasibility_ID. ID stands for everything that a program depends
on except size, batch and mode, and for the options that set these. Each row is written at once, so
that a map that was interrupted resumes, and a larger one extends it.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
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

_FAILURES = {
    "refused": "refused",
    "oom": "out of memory in the compiler",
    "error": "cannot be compiled",
}
"""Why there is no prediction, by the status of the process; its reason follows."""

Note = Callable[[str], None]
Rows = dict[tuple[Any, ...], dict[str, Any]]
"""The table in memory: {(size, batch, mode): {column: value}}."""


def make_map(request: Request, note: Note) -> pd.DataFrame:
    """Compile the cells that the table lacks, run those nearest to the limit; return their rows.

    Raises Locked if another process is working on the map.
    """
    folder = request.folder
    with folder.held("map"):
        folder.write(RECORD, {**request.base.record(), "device_kind": request.device.kind})
        rows = {
            tuple(row[name] for name in KEY): row
            for row in read_table(folder.path, request.limit).to_dict("records")
        }
        _compile_missing(request, rows, note)
        _run_nearest(request, rows, note)
        return _requested(request, rows)


def _compile_missing(request: Request, rows: Rows, note: Note) -> None:
    left = [c for c in request.cells if c.key not in rows or pd.isna(rows[c.key]["fits"])]
    earlier = len(request.cells) - len(left)
    note(
        f"{request.device.kind}, limit {bytes_text(request.limit)}: {len(left)} cells to "
        f"compile{f', {earlier} known from before' if earlier else ''}"
    )
    with CellProcess() as process:
        for count, cell in enumerate(left, start=1):
            start = time.monotonic()
            answered = process.ask("compile", cell.config, request.options.timeout)
            row = _prediction(request, answered, time.monotonic() - start)
            _record(request, rows, cell, row)
            outcome = row["reason"]
            if not math.isnan(row["bytes"]):
                fits = "fits" if row["fits"] else "does not fit"
                outcome = f"{bytes_text(row['bytes'])}, {fits}"
            note(f"{count}/{len(left)}  {cell}: {outcome} ({seconds_text(row['seconds'])})")


def _run_nearest(request: Request, rows: Rows, note: Note) -> None:
    cells = {cell.key: cell for cell in request.cells}
    nearest = sample(_requested(request, rows), request.limit, request.options.confirm)
    left = [cells[key] for key in nearest if not rows[key].get("confirmed")]
    environment = allocator_environment(request.device, request.limit)
    watched = request.limit if request.device.platform == "cpu" else math.inf
    for count, cell in enumerate(left, start=1):
        with CellProcess(environment) as process:
            answered = process.ask("run", cell.config, request.options.timeout, watched)
        row = _confirmation(request, answered)
        _record(request, rows, cell, row)
        measured = row["measured_bytes"]
        memory = "" if math.isnan(measured) else f", {bytes_text(measured)} measured"
        note(f"run {count}/{len(left)}  {cell}: {row['confirmed']}{memory}")


def sample(table: pd.DataFrame, limit: float, count: int) -> list[tuple[int, int, str]]:
    """Return the keys of the cells to run: alternately from both sides of the limit, nearest first.

    Every mode has one turn before any has a second.
    """
    known = table[table["bytes"].notna()].assign(
        distance=lambda t: np.abs(np.log(t["bytes"].clip(lower=1.0) / limit))
    )
    known = known.sort_values("distance", kind="stable")
    known["turn"] = known.groupby(["fits", "mode"]).cumcount()
    known = known.sort_values(["turn", "distance"], kind="stable")
    known["rank"] = known.groupby("fits").cumcount()
    known = known.sort_values(["rank", "fits"], ascending=[True, False], kind="stable")
    return list(known[KEY].head(count).itertuples(index=False, name=None))


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
    drawn = known.astype({"fits": bool})
    feasibility_map(drawn, limit=request.limit, size_option=request.size_key).savefig(path)
    return path


def read_table(folder: Path, limit: float) -> pd.DataFrame:
    """Read the table of a folder, empty if there is none, for a limit in bytes."""
    try:
        stored = pd.read_csv(folder / TABLE, keep_default_na=False, na_values=[""])
    except (FileNotFoundError, pd.errors.EmptyDataError):
        stored = pd.DataFrame()
    table = _typed(stored)
    predicted = table["bytes"].notna()
    table.loc[predicted, "fits"] = table.loc[predicted, "bytes"] <= limit
    # A run within another limit does not decide whether the cell fits into this one.
    stale = table["limit"] != limit
    table.loc[stale, "confirmed"] = ""
    table.loc[stale, ["limit", "measured_bytes"]] = math.nan
    return table


def _prediction(request: Request, answered: Answered, seconds: float) -> dict[str, Any]:
    """Return the columns of a cell that was compiled, or could not be."""
    needed, reason = answered.content.get("bytes"), answered.reason
    if answered.status == "ok" and needed is None:
        reason = "the compiler of this device reports no memory"
    elif answered.status in _FAILURES:
        reason = f"{_FAILURES[answered.status]}: {reason}"
    fits = needed <= request.limit if needed is not None else None
    return {
        "problem": request.folder.path.parts[-3],  # out/problem/rule/feasibility_ID
        "device": request.device.kind,
        "bytes": math.nan if needed is None else float(needed),
        "fits": False if answered.status in ("refused", "oom") else fits,
        "reason": reason,
        "seconds": round(seconds, 3),
    }


def _confirmation(request: Request, answered: Answered) -> dict[str, Any]:
    """Return the columns of a cell that was run: its end, the limit and the memory measured."""
    measured = max(answered.content.get("measured") or 0.0, answered.peak)
    outcome = {"ok": RAN if measured <= request.limit else EXHAUSTED, "oom": EXHAUSTED}
    return {
        "confirmed": outcome.get(answered.status, answered.reason),
        "limit": request.limit,
        "measured_bytes": measured or math.nan,
    }


def _record(request: Request, rows: Rows, cell: Cell, values: Mapping[str, Any]) -> None:
    """Set values in the row of a cell, adding the row if it is missing, and write the table."""
    key = dict(zip(KEY, cell.key, strict=True))
    rows[cell.key] = {**rows.get(cell.key, {}), **key, **values}
    request.folder.write_text(TABLE, _typed(rows.values()).to_csv(index=False))


def _requested(request: Request, rows: Rows) -> pd.DataFrame:
    """Return the rows that are requested, in the order of the request."""
    return _typed(rows[cell.key] for cell in request.cells)


def _typed(rows: pd.DataFrame | Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return rows as a table with the columns and types of COLUMNS; a missing text is empty."""
    rows = rows if isinstance(rows, pd.DataFrame) else list(rows)
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(object)
    empty = {name: "" for name, kind in COLUMNS.items() if kind == "str"}
    return table.fillna(empty).astype(COLUMNS)
