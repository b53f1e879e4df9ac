"""Load: the records of runs as one table.

One row per evaluation, with the settings and the status of its run in every row. A run without
evaluations (damaged, refused, failed at once) has one row without measurements, so that no run is
lost. Columns, beside those of curve.jsonl:

    folder, source       the run's folder, and the loaded folder that contains it
    problem, rule        names; case and method are these with the options in which runs differ,
                         without the value of a setting that is common to all rules on a problem
    seed batch_size train_size redraw heldout_size log_every network dtype start  settings
    train_on             "test" if the run trained on the samples of the test set, else "training"
    budget_steps, budget_seconds                                        steps= and seconds=
    device               kind of device, with their number if there are several
    versions             of jax, jaxlib, flax and optax, "unknown" if the records lack one
    source_version       short hash of the code that ran, "" if it is not recorded
    status, reason       as in status.json; "damaged" if the records cannot be read
    target_metric, target_value        metric and value at which the problem counts as solved
    tuning_trials        trials spent on tuning the options, 0 for none
    finished             time of the status in ISO 8601
    timing               why the timings are not reliable, "" if nothing is known against them
    blas_threads         threads of linear algebra, missing if not recorded
    problem.*, rule.*    all options
"""

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.options import OptionError
from physopt.records import Record, find_runs
from physopt.records.environment import LIBRARIES
from physopt.records.reading import shown

UNKNOWN = "unknown"
"""The device or the versions of a run whose records lack them."""

_NUMBERS = (
    "seed",
    "batch_size",
    "train_size",
    "redraw",
    "heldout_size",
    "log_every",
    "device_count",
)
_SETTINGS = (*_NUMBERS, "network", "dtype", "stop_at_target", "start", "device_kind")
_RUN_COLUMNS = (
    *("folder", "source", "run_id", "problem", "rule", *_SETTINGS, "device", "status", "reason"),
    *("train_on", "budget_steps", "budget_seconds"),
    *("target_metric", "target_value", "tuning_trials"),
    *("versions", "source_version", "finished", "timing", "blas_threads"),
)
_CURVE_COLUMNS = (
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
            run, rows = read_run(Record(folder.results()), folder.path)
            evaluations += [{**row, "run": len(runs)} for row in rows or [{}]]
            runs.append({**run, "source": str(source)})
    return frame_of(runs, evaluations)


def runs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each run: one row per run."""
    return frame.groupby("folder", sort=False).tail(1).reset_index(drop=True)


def read_run(record: Record, path: Path) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Return the settings and the status of a run, and the numbers of its curve."""
    config, environment = record.config, record.environment
    known = {**next(iter(record.curve), {}), **environment, **config}
    run = {name: _plain(known[name]) for name in _SETTINGS if name in known}
    for kind in ("problem", "rule"):
        options = {k: v for k, v in config.get(kind, {}).items() if k != "name"}
        run[kind] = short_name(record.name(kind))
        run |= {f"{kind}.{name}": _plain(value) for name, value in options.items()}
    versions = {name: environment.get(name) for name in LIBRARIES}
    known_versions = ", ".join(f"{name} {version}" for name, version in versions.items())
    metric, target = config.get("target") or (None, None)
    run |= {
        "folder": str(path),
        "run_id": shown(path.name),
        "device": _device(known.get("device_kind"), known.get("device_count")),
        "train_on": config.get("train_on", "training"),
        "budget_steps": config.get("steps"),
        "budget_seconds": config.get("seconds"),
        "target_metric": metric,
        "target_value": target,
        "tuning_trials": config.get("tuning_trials") or 0.0,
        "versions": known_versions if all(versions.values()) else UNKNOWN,
        "source_version": environment.get("source") or "",
        "status": record.status,
        "reason": record.reason,
        "finished": record.progress.get("time", ""),
        "timing": record.progress.get("timing", ""),
        "blas_threads": environment.get("blas_threads"),
    }
    return run, [_numbers(row) for row in record.curve]


def _device(kind: Any, count: float | None) -> str:
    """Return the name of devices: their kind, and their number if there are several."""
    kind = kind if isinstance(kind, str) else UNKNOWN
    return kind if count in (None, 1) else f"{kind} x{count:g}"


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


def frame_of(runs: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> pd.DataFrame:
    """Join the evaluations, whose `run` is an index into runs, with the settings of their runs."""
    table = pd.DataFrame(runs, columns=_names(_RUN_COLUMNS, runs))
    for name in (*_NUMBERS, "budget_steps", "budget_seconds", "target_value", "tuning_trials"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    texts = pd.DataFrame([{name: _text(value) for name, value in run.items()} for run in runs])
    texts = texts.reindex(columns=table.columns)[table["status"] != "damaged"]
    table["case"] = _labels(table, texts, ["problem"], ("heldout_size",))
    shown = ("batch_size", "train_size", "redraw", "network", "dtype", "start")
    table["method"] = _labels(table, texts, ["case", "rule"], shown)
    table["method"] += (table["train_on"] == "test").map({True: " train_on=test", False: ""})
    names = [name for name in _names(("run", *_CURVE_COLUMNS), evaluations) if name not in table]
    curve = pd.DataFrame(evaluations, columns=names, dtype=float)
    return curve.join(table, on="run").drop(columns="run").reset_index(drop=True)


def _names(first: Iterable[str], rows: list[dict[str, Any]]) -> list[str]:
    """Return names and the keys of all rows, each once."""
    return list(dict.fromkeys([*first, *chain.from_iterable(rows)]))


def _labels(
    table: pd.DataFrame, texts: pd.DataFrame, within: list[str], settings: tuple[str, ...]
) -> pd.Series:
    """Name runs by the last column of `within` and by the options in which runs of a group differ.

    An option that a record lacks is no difference. A setting is left out of the name if it has the
    value that all rules have in common. texts: the readable runs of the table.
    """
    name = within[-1]
    labels = table[name].astype(str)
    options = [column for column in texts.columns if column.startswith(f"{name}.")]
    readable = table.loc[texts.index]
    for _, group in readable.groupby(within, sort=False):
        of_group = texts.loc[group.index, [*settings, *options]]
        for column in of_group.columns[of_group.nunique() > 1]:
            label = f" {column.rpartition('.')[2]}=" + of_group[column]
            if column in settings:
                in_case = readable[within[0]] == group[within[0]].iloc[0]
                common = _common(texts.loc[in_case, column], readable.loc[in_case, name])
                label = label.where(of_group[column] != common, "")
            labels[group.index] += label.fillna("")
    return labels


def _common(values: pd.Series, rules: pd.Series) -> str | None:
    """Return the only value of a setting with which all of several rules ran, if there is one."""
    of_rule = [set(group) for _, group in values.groupby(rules)]
    common = set.intersection(*of_rule) if len(of_rule) > 1 else set()
    return common.pop() if len(common) == 1 else None


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
