"""Reading: the files of a run as values of known types, whatever state they are in.

Any file may be cut short, edited, foreign, a pipe or unreadable. Every reader of records reads
through this module: it never raises, never waits, leaves out what has a wrong type and describes
the damage in words.
"""

import json
import math
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from physopt.records.status import STATUSES

LARGEST_BYTES = 2**28
"""Files above this size are not read."""

LONGEST_TEXT = 10_000
"""Characters of a text that are shown."""

_DEEPEST = 50
_RUNNING = "running"
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)  # control characters, reversals of the writing direction, halves of surrogate pairs

Table = dict[str, Any]
Damage = str | None
"""What is wrong with a file, in words that begin with its name; None if nothing is."""


class Damaged(Exception):
    """Why a file or a line cannot be used."""


def read_table(path: Path, like: str | None = None) -> tuple[Table, Damage]:
    """Return the valid entries of a JSON file, {} if it cannot be read, and its damage.

    like: name of the file whose types the entries must have, by default the name of the path.
    """
    try:
        content = _parsed(file_bytes(path))
        if not isinstance(content, dict):
            raise Damaged("is not a table")
    except Damaged as damaged:
        return {}, f"{path.name} {damaged}"
    kind = like or path.name
    fields = _FIELDS.get(kind, {})
    valid, wrong = _valid(content, lambda key: fields.get(key) or fields.get("*"))
    missing = [key for key in _REQUIRED.get(kind, ()) if key not in content]
    if missing:
        return valid, f"{path.name} has no {missing[0]}"
    return valid, f"{path.name}: {wrong}" if wrong else None


def read_curve(path: Path) -> tuple[list[Table], Damage]:
    """Return the valid rows of a curve by their steps, and its damage.

    Text after the last newline is the line that a crash interrupted: it is left out, and no damage.
    A line without a step is left out; of several lines of one step the last one counts. A metric
    has one type in all lines.
    """
    try:
        lines = file_bytes(path).split(b"\n")[:-1]
    except Damaged as damaged:
        return [], f"{path.name} {damaged}"
    rows: dict[float, Table] = {}
    kinds: dict[str, Check] = {}
    damage: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = _parsed(line)
            if not isinstance(row, dict):
                raise Damaged("is not a table")
            for key, value in row.items():
                if value is not None and key not in kinds:
                    kinds[key] = _CURVE.get(key) or (_text if isinstance(value, str) else _number)
            row, wrong = _valid(row, lambda key: _optional(kinds.get(key, _number)))
            if row.get("step") is None:
                raise Damaged("has no step")
        except Damaged as damaged:
            damage.append(f"line {number} {damaged}")
            continue
        if wrong:
            damage.append(f"line {number}: {wrong}")
        if row["step"] in rows:
            damage.append(f"line {number} repeats step {row['step']}")
        rows[row["step"]] = row
    ordered = [rows[step] for step in sorted(rows)]
    return ordered, f"{path.name}: {damage[0]}" if damage else None


def shown(value: Any) -> Any:
    """Return a value that every terminal, page and figure can show.

    Characters that cannot be printed are escaped, long texts are cut, integers beyond 64 bits
    become text, and what is neither finite nor JSON is None.
    """
    if isinstance(value, str):
        text = value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + " ..."
        return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    if isinstance(value, Mapping):
        return {shown(str(key)): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    return value if isinstance(value, float) and math.isfinite(value) else None


def file_bytes(path: Path) -> bytes:
    """Return the content of a regular file; raise Damaged for anything else."""
    try:
        state = os.stat(path)
        # Opening a pipe would wait for its writer, and opening a device may act on it.
        if not stat.S_ISREG(state.st_mode):
            raise Damaged("is not a regular file")
        if state.st_size > LARGEST_BYTES:
            raise Damaged(f"is larger than {LARGEST_BYTES} bytes")
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            return file.read(LARGEST_BYTES)
    except FileNotFoundError:
        raise Damaged("is missing") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Damaged(f"cannot be read: {reason}") from None


def _parsed(data: bytes) -> Any:
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError):
        raise Damaged("is not JSON") from None
    if _depth(content) > _DEEPEST:
        raise Damaged("is nested too deeply")
    return content


def _depth(content: Any) -> int:
    """Return how deeply lists and tables are nested, counted without recursion up to _DEEPEST."""
    depth, level = 0, [content]
    while level and depth <= _DEEPEST:
        depth += 1
        tables = [item.values() if isinstance(item, dict) else item for item in level
                  if isinstance(item, dict | list)]  # fmt: skip
        level = [inner for items in tables for inner in items]
    return depth


Check = Callable[[Any], str | None]
"""Returns what a value should be, None if it is."""


def _valid(content: Table, check_of: Callable[[str], Check | None]) -> tuple[Table, str | None]:
    """Return the entries that pass their checks, and what is wrong with the first other one."""
    valid, first = {}, None
    for key, value in content.items():
        check = check_of(key)
        expected = None if check is None else check(value)
        if expected is None:
            valid[key] = value
        else:
            first = first or f"{shown(key)} is not {expected}"
    return valid, first


def _number(value: Any) -> str | None:
    if isinstance(value, float):
        fits = math.isfinite(value)
    else:
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return None if fits else "a finite number"


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "text"


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _optional(check: Check) -> Check:
    def optional(value: Any) -> str | None:
        return None if value is None else check(value)

    return optional


def _status(value: Any) -> str | None:
    known = isinstance(value, str) and value in (*STATUSES, _RUNNING)
    return None if known else "a known status"


def _named(value: Any) -> str | None:
    named = isinstance(value, dict) and isinstance(value.get("name"), str) and value["name"]
    return None if named else "a table with a name"


def _target(value: Any) -> str | None:
    pair = isinstance(value, list) and len(value) == 2
    fits = pair and isinstance(value[0], str) and _number(value[1]) is None
    return None if fits else "a metric and a number"


def _numbers(value: Any) -> str | None:
    fits = isinstance(value, dict) and all(_number(item) is None for item in value.values())
    return None if fits else "a table of numbers"


def _texts(value: Any) -> str | None:
    fits = isinstance(value, dict) and all(isinstance(item, str) for item in value.values())
    return None if fits else "a table of texts"


def _tables(value: Any) -> str | None:
    fits = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return None if fits else "a list of tables"


_optional_number, _optional_text = _optional(_number), _optional(_text)

_REQUIRED = {"config.json": ("problem", "rule"), "status.json": ("status",)}

_FIELDS: dict[str, dict[str, Check]] = {
    "config.json": {
        **dict.fromkeys(("problem", "rule"), _named),
        **dict.fromkeys(("seed", "batch_size", "heldout_size", "devices"), _number),
        **dict.fromkeys(("train_size", "steps", "seconds"), _optional_number),
        **dict.fromkeys(("log_every", "tuning_trials", "threads"), _optional_number),
        **dict.fromkeys(("network", "dtype", "out"), _text),
        **dict.fromkeys(("start", "device"), _optional_text),
        "stop_at_target": _truth,
        "target": _optional(_target),
    },
    "env.json": {
        **dict.fromkeys(("jax", "jaxlib", "flax", "optax"), _optional_text),
        **dict.fromkeys(("device_kind", "source"), _optional_text),
        **dict.fromkeys(("device_count", "blas_threads"), _number),
        "sources": _texts,
        "earlier": _tables,
    },
    "status.json": {
        "status": _status,
        **dict.fromkeys(("reason", "time", "timing"), _text),
        "method": _optional_text,
        **dict.fromkeys(("step", "t_train", "t_compile", "t_eval", "wall_seconds"), _number),
        **dict.fromkeys(("load_start", "load_end", "load_others"), _optional_number),
        "compile_cached": _truth,
        "phases": _numbers,
    },
    "baselines.json": {"*": _numbers},
}

_CURVE: dict[str, Check] = {
    **dict.fromkeys(("run_id", "problem", "rule", "device_kind", "dtype"), _text),
    "compile_cached": _truth,
    **dict.fromkeys(("seed", "batch_size", "device_count", "peak_bytes"), _number),
    **dict.fromkeys(("step", "t_train", "t_compile", "t_eval"), _number),
    **dict.fromkeys(("train_loss", "validation_loss", "test_loss"), _number),
    **dict.fromkeys(("n_simulate", "n_vjp", "n_invert", "n_factor"), _number),
    **dict.fromkeys(("grad_norm", "update_norm"), _number),
}
"""Columns of a curve with a meaning of their own; the others are numbers, or all texts."""
