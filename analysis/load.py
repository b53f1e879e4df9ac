"""Load: the records of runs as one table.

One row per evaluation, with what is known of its run in every row. A run without evaluations
(damaged, refused, failed at once) has one row in which all that is measured is missing, so that no
run is lost. Columns, beside those of curve.jsonl:

    folder, source       the run's folder, and which of the folders asked for it was found below
    problem, rule        names; case and method are these with the options in which runs differ,
                         but for the value of a setting that all rules on a problem have in common
    seed batch_size train_size heldout_size log_every network dtype start    settings
    budget_steps, budget_seconds                                        steps= and seconds=
    device               kind of device, with the number of them where it is not one
    versions             of jax, jaxlib, flax and optax, "unknown" where the records lack one
    source_version       short hash of the code that ran, "" where it is not recorded
    status, reason       as in status.json; "damaged" where the records cannot be read
    target_metric, target_value        what the problem counts as solved
    tuning_trials        trials spent on tuning the options, 0 for none
    finished             when the status was written, text in ISO 8601
    problem.*, rule.*    all options
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.options import OptionError
from physopt.records.environment import LIBRARIES
from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED

STATUSES = (
    *("ok", "target", "budget", "diverged", "oom", "timeout", "error"),
    *("skipped", "interrupted", "running"),
)
"""Statuses that physopt writes; another one makes a record damaged."""

UNKNOWN = "unknown"
"""The device or the versions of a run whose records do not hold them."""

RECORD_FILES = ("config.json", "curve.jsonl", "status.json")
_SETTINGS = (
    *("seed", "batch_size", "train_size", "heldout_size", "log_every", "network", "dtype"),
    *("stop_at_target", "start", "device_kind", "device_count"),
)
_NUMBERS = ("seed", "batch_size", "train_size", "heldout_size", "log_every", "device_count")
_CURVE_NUMBERS = (
    *("step", "t_train", "t_compile", "t_eval", "train_loss", "validation_loss", "test_loss"),
    *("n_simulate", "n_vjp", "n_invert", "n_factor", "grad_norm", "update_norm", "peak_bytes"),
)


def load(*folders: Path | str) -> pd.DataFrame:
    """Return the records of all runs at or below some folders, one row per evaluation.

    Raises OptionError, a ValueError, where a folder does not exist.
    """
    runs, evaluations = [], []
    seen: set[Path] = set()
    for source in folders:
        if not Path(source).is_dir():
            raise OptionError(object, "folder", source, "no such folder")
        for path in run_folders(Path(source)):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            run, rows = _read(path)
            evaluations += [{**row, "run": len(runs)} for row in rows or [{}]]
            runs.append({**run, "source": str(source)})
    return _table(runs, evaluations)


def run_folders(root: Path) -> Iterator[Path]:
    """Yield the folders at or below a folder that hold a file of a run, in order."""
    for path, below, files in os.walk(root):
        below.sort()
        if any(name in files for name in RECORD_FILES):
            below.clear()  # what lies below are checkpoints
            yield Path(path)


def runs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each run: one row per run."""
    return frame.groupby("folder", sort=False).tail(1).reset_index(drop=True)


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Return what is known of a run, and the numbers of its curve."""
    folder = RunFolder(path)
    config, environment, status = (
        folder.read("config.json"),
        folder.read("env.json"),
        folder.status(),
    )
    raw = folder.curve()
    told = {**(raw[0] if raw else {}), **environment, **config}
    run: dict[str, Any] = {"folder": str(path), "run_id": path.name}
    for kind, parent in (("problem", path.parent.parent), ("rule", path.parent)):
        options = config.get(kind)
        options = dict(options) if isinstance(options, dict) else {}
        names = (options.pop("name", None), raw[0].get(kind) if raw else None, parent.name)
        run[kind] = short_name(next(name for name in names if name and isinstance(name, str)))
        run.update({f"{kind}.{name}": _plain(value) for name, value in options.items()})
    run.update({name: _plain(told.get(name)) for name in _SETTINGS})
    run.update({f"budget_{name}": _number(config.get(name)) for name in ("steps", "seconds")})
    metric, value = _target(config.get("target"))
    run.update(target_metric=metric, target_value=value)
    run["tuning_trials"] = _number(config.get("tuning_trials")) or 0.0
    rows = sorted((_numbers(row) for row in raw if _number(row.get("step")) is not None),
                  key=lambda row: row["step"] or 0.0)  # fmt: skip
    run["versions"] = _versions(environment)
    run["source_version"] = str(environment.get("source") or "")
    run["status"], run["reason"] = _status(config, status, rows)
    run["finished"] = str(status.get("time") or "")
    return run, rows


def _versions(environment: dict[str, Any]) -> str:
    versions = [f"{name} {environment.get(name)}" for name in LIBRARIES]
    return ", ".join(versions) if all(map(environment.get, LIBRARIES)) else UNKNOWN


def short_name(name: str) -> str:
    """Return what a reader calls a class: `folder/file.py:Class` is Class."""
    return name.rpartition(":")[2]


def _status(config: dict[str, Any], status: dict[str, Any], rows: list[Any]) -> tuple[str, str]:
    """Return status and reason, as recorded where the records bear it out."""
    word, reason = status.get("status"), str(status.get("reason") or "")
    if not config:
        return "damaged", "config.json cannot be read"
    if word is None:
        return "damaged", "status.json cannot be read"
    if word not in STATUSES:
        return "damaged", f"unknown status {word}"
    if word in FINISHED and word != "skipped" and not rows:
        return "damaged", "curve.jsonl cannot be read"
    return str(word), reason


def _target(target: Any) -> tuple[str | None, float | None]:
    if isinstance(target, list) and len(target) == 2 and isinstance(target[0], str):
        return target[0], _number(target[1])
    return None, None


def _plain(value: Any) -> Any:
    """Return a value that a cell can hold: lists and tables become text."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _numbers(row: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a line of a curve; the texts in it are known from the run."""
    told = ("seed", "batch_size", "device_count", "run")
    return {
        name: _number(value)
        for name, value in row.items()
        if name not in told and not isinstance(value, str | list | dict)
    }


def _table(runs: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> pd.DataFrame:
    names = ("folder", "source", "run_id", "problem", "rule", *_SETTINGS, "status", "reason")
    more = ("budget_steps", "budget_seconds", "target_metric", "target_value", "tuning_trials")
    table = pd.DataFrame(runs)
    table = table.reindex(columns=list(dict.fromkeys([*names, *more, "finished", *table.columns])))
    for name in (*_NUMBERS, "budget_steps", "budget_seconds", "target_value", "tuning_trials"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    table["device"] = [
        device_name(kind, count)
        for kind, count in zip(table["device_kind"], table["device_count"], strict=True)
    ]
    table["case"] = _labels(table, "problem", ["problem"], ("heldout_size",))
    shown = ("batch_size", "train_size", "network", "dtype", "start")
    table["method"] = _labels(table, "rule", ["case", "rule"], shown)
    curve = pd.DataFrame(evaluations, columns=None if evaluations else ["run"])
    curve = curve.reindex(columns=list(dict.fromkeys([*_CURVE_NUMBERS, *curve.columns])))
    curve = curve.drop(columns=[name for name in curve.columns if name in table.columns])
    measured = curve.columns.drop("run")
    curve[measured] = curve[measured].astype(float)
    return curve.join(table, on="run").drop(columns="run").reset_index(drop=True)


def device_name(kind: Any, count: Any) -> str:
    """Return how devices are called: their kind, and their number where it is not one."""
    kind = kind if isinstance(kind, str) else UNKNOWN
    return kind if pd.isna(count) or count == 1 else f"{kind} x{count:g}"


def _labels(
    table: pd.DataFrame, name: str, within: list[str], settings: tuple[str, ...]
) -> pd.Series:
    """Name runs by `name` and by the options in which runs of one group differ.

    Rules that all ran with one common value of a setting keep their plain names there: others tell
    theirs.
    """
    labels = table[name].astype(object).copy()
    options = [column for column in table.columns if column.startswith(f"{name}.")]
    sound = table[table["status"] != "damaged"]
    for key, group in sound.groupby(within, sort=False):
        differing = [
            column for column in (*settings, *options) if group[column].astype(str).nunique() > 1
        ]
        beside = sound[sound[within[0]] == key[0]] if len(within) > 1 else group
        usual = {c: _common(beside, name, c) for c in differing if c in settings}
        for index, run in group.iterrows() if differing else ():
            told = {c: _spelled(run[c]) for c in differing if usual.get(c) != _spelled(run[c])}
            spelled = (f"{c.rpartition('.')[2]}={value}" for c, value in told.items())
            labels[index] = " ".join([str(run[name]), *spelled])
    return labels.astype(str)


def _common(table: pd.DataFrame, name: str, column: str) -> str | None:
    """Return the one value of a setting that all of several rules ran with, if there is one."""
    values = [{_spelled(v) for v in g[column].unique()} for _, g in table.groupby(name)]
    common = set.intersection(*values) if len(values) > 1 else set()
    return common.pop() if len(common) == 1 else None


def _spelled(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "none"
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:g}"
