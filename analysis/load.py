"""Load: the records of runs as one table.

One row per evaluation, with the settings and the status of its run in every row. A run without
evaluations (damaged, refused, failed at once) has one row without measurements, so that no run is
lost. Columns, beside those of curve.jsonl:

    folder, source       the run's folder, and the loaded folder that contains it
    problem, rule        names; case and method are these with the options in which runs differ,
                         without the value of a setting that is common to all rules on a problem
    seed batch_size train_size heldout_size log_every network dtype start    settings
    budget_steps, budget_seconds                                        steps= and seconds=
    device               kind of device, with their number if there are several
    versions             of jax, jaxlib, flax and optax, "unknown" if the records lack one
    source_version       short hash of the code that ran, "" if it is not recorded
    status, reason       as in status.json; "damaged" if the records cannot be read
    target_metric, target_value        metric and value at which the problem counts as solved
    tuning_trials        trials spent on tuning the options, 0 for none
    finished             time of the status in ISO 8601
    problem.*, rule.*    all options
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.options import OptionError
from physopt.records import Record, find_runs
from physopt.records.environment import LIBRARIES
from physopt.records.reading import shown

UNKNOWN = "unknown"
"""The device or the versions of a run whose records lack them."""

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

    Raises OptionError, a ValueError, if a folder does not exist.
    """
    runs, evaluations = [], []
    seen: set[Path] = set()
    for source in folders:
        if not os.path.isdir(source):
            raise OptionError(object, "folder", source, "no such folder")
        for folder in find_runs(source):
            path = folder.path.resolve()
            if path in seen:
                continue
            seen.add(path)
            run, rows = _read(Record(folder))
            evaluations += [{**row, "run": len(runs)} for row in rows or [{}]]
            runs.append({**run, "source": str(source)})
    return _table(runs, evaluations)


def runs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each run: one row per run."""
    return frame.groupby("folder", sort=False).tail(1).reset_index(drop=True)


def _read(record: Record) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Return the settings and the status of a run, and the numbers of its curve."""
    config, environment, path = record.config, record.environment, record.folder.path
    known = {**next(iter(record.curve), {}), **environment, **config}
    run: dict[str, Any] = {"folder": str(path), "run_id": shown(path.name)}
    for kind in ("problem", "rule"):
        options = {k: v for k, v in config.get(kind, {}).items() if k != "name"}
        run[kind] = short_name(record.name(kind))
        run.update({f"{kind}.{name}": _plain(value) for name, value in options.items()})
    run.update({name: _plain(known.get(name)) for name in _SETTINGS})
    run.update({f"budget_{name}": config.get(name) for name in ("steps", "seconds")})
    metric, value = config.get("target") or (None, None)
    run.update(target_metric=metric, target_value=value)
    run["tuning_trials"] = config.get("tuning_trials") or 0.0
    run["versions"] = _versions(environment)
    run["source_version"] = environment.get("source") or ""
    run["status"], run["reason"] = record.status, record.reason
    run["finished"] = record.progress.get("time", "")
    return run, [_numbers(row) for row in record.curve]


def _versions(environment: dict[str, Any]) -> str:
    versions = [f"{name} {environment.get(name)}" for name in LIBRARIES]
    return ", ".join(versions) if all(map(environment.get, LIBRARIES)) else UNKNOWN


def short_name(name: str) -> str:
    """Return the name of a class without its file: Class of `folder/file.py:Class`."""
    return name.rpartition(":")[2]


def _plain(value: Any) -> Any:
    """Return a value for a cell: lists and tables become text."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _numbers(row: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a row of a curve, without those that are settings of the run."""
    settings = ("seed", "batch_size", "device_count", "run")
    return {
        name: None if value is None else float(value)
        for name, value in row.items()
        if name not in settings and not isinstance(value, str)
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
    """Return the name of devices: their kind, and their number if there are several."""
    kind = kind if isinstance(kind, str) else UNKNOWN
    return kind if pd.isna(count) or count == 1 else f"{kind} x{count:g}"


def _labels(
    table: pd.DataFrame, name: str, within: list[str], settings: tuple[str, ...]
) -> pd.Series:
    """Name runs by `name` and by the options in which runs of one group differ.

    A setting is left out of the name if it has the value that all rules have in common.
    """
    labels = table[name].astype(object).copy()
    options = [column for column in table.columns if column.startswith(f"{name}.")]
    readable = table[table["status"] != "damaged"]
    for key, group in readable.groupby(within, sort=False):
        differing = [
            column for column in (*settings, *options) if group[column].astype(str).nunique() > 1
        ]
        of_case = readable[readable[within[0]] == key[0]] if len(within) > 1 else group
        common = {c: _common(of_case, name, c) for c in differing if c in settings}
        for index, run in group.iterrows() if differing else ():
            texts = {c: _text(run[c]) for c in differing if common.get(c) != _text(run[c])}
            options_text = (f"{c.rpartition('.')[2]}={value}" for c, value in texts.items())
            labels[index] = " ".join([str(run[name]), *options_text])
    return labels.astype(str)


def _common(table: pd.DataFrame, name: str, column: str) -> str | None:
    """Return the only value of a setting with which all of several rules ran, if there is one."""
    values = [{_text(v) for v in g[column].unique()} for _, g in table.groupby(name)]
    common = set.intersection(*values) if len(values) > 1 else set()
    return common.pop() if len(common) == 1 else None


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "none"
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:g}"
