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
    timing               why the timings are not reliable, "" if nothing is known against them
    blas_threads         threads of linear algebra, missing if not recorded
    problem.*, rule.*    all options
"""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.options import OptionError
from physopt.records.environment import LIBRARIES
from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED, STATUSES

UNKNOWN = "unknown"
"""The device or the versions of a run whose records lack them."""

RECORD_FILES = ("config.json", "curve.jsonl", "status.json")
_NUMBERS = ("seed", "batch_size", "train_size", "heldout_size", "log_every", "device_count")
_SETTINGS = (*_NUMBERS, "network", "dtype", "stop_at_target", "start", "device_kind")
_RUN_COLUMNS = (
    *("folder", "source", "run_id", "problem", "rule", *_SETTINGS, "device", "status", "reason"),
    *("budget_steps", "budget_seconds", "target_metric", "target_value", "tuning_trials"),
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
    """Yield the folders at or below a folder that contain a file of a run, in order."""
    for path, below, files in os.walk(root):
        below.sort()
        if any(name in files for name in RECORD_FILES):
            below.clear()  # only checkpoints lie below
            yield Path(path)


def runs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of each run: one row per run."""
    return frame.groupby("folder", sort=False).tail(1).reset_index(drop=True)


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, float | None]]]:
    """Return the settings and the status of a run, and the numbers of its curve."""
    folder = RunFolder(path).results()
    config, environment = folder.read("config.json"), folder.read("env.json")
    status, curve = folder.status(), folder.curve()
    first = curve[0] if curve else {}
    rows = [_numbers(row) for row in curve if _number(row.get("step")) is not None]
    word, reason = _status(config, status, has_curve=bool(rows))
    known = {**first, **environment, **config}
    run = {name: _plain(known[name]) for name in _SETTINGS if name in known}
    for kind, parent in (("problem", path.parent.parent), ("rule", path.parent)):
        options = config.get(kind)
        options = dict(options) if isinstance(options, dict) else {}
        names = (options.pop("name", None), first.get(kind), parent.name)
        run[kind] = short_name(next(name for name in names if name and isinstance(name, str)))
        run |= {f"{kind}.{name}": _plain(value) for name, value in options.items()}
    match config.get("target"):
        case [str(metric), value]:
            run |= {"target_metric": metric, "target_value": _number(value)}
    versions = {name: environment.get(name) for name in LIBRARIES}
    known_versions = ", ".join(f"{name} {version}" for name, version in versions.items())
    run |= {
        "folder": str(path),
        "run_id": path.name,
        "device": _device(known.get("device_kind"), _number(known.get("device_count"))),
        "budget_steps": _number(config.get("steps")),
        "budget_seconds": _number(config.get("seconds")),
        "tuning_trials": _number(config.get("tuning_trials")) or 0.0,
        "versions": known_versions if all(versions.values()) else UNKNOWN,
        "source_version": str(environment.get("source") or ""),
        "status": word,
        "reason": reason,
        "finished": str(status.get("time") or ""),
        "timing": str(status.get("timing") or ""),
        "blas_threads": _number(environment.get("blas_threads")),
    }
    return run, sorted(rows, key=lambda row: row["step"] or 0.0)


def _device(kind: Any, count: float | None) -> str:
    """Return the name of devices: their kind, and their number if there are several."""
    kind = kind if isinstance(kind, str) else UNKNOWN
    return kind if count in (None, 1) else f"{kind} x{count:g}"


def short_name(name: str) -> str:
    """Return the name of a class without its file: Class of `folder/file.py:Class`."""
    return name.rpartition(":")[2]


def _status(config: dict[str, Any], status: dict[str, Any], *, has_curve: bool) -> tuple[str, str]:
    """Return the recorded status and reason; "damaged" if the records contradict them."""
    word, reason = status.get("status"), str(status.get("reason") or "")
    if not config:
        return "damaged", "config.json cannot be read"
    if word is None:
        return "damaged", "status.json cannot be read"
    if word not in (*STATUSES, "running"):
        return "damaged", f"unknown status {word}"
    if word in FINISHED and word != "skipped" and not has_curve:
        return "damaged", "curve.jsonl cannot be read"
    return str(word), reason


def _plain(value: Any) -> Any:
    """Return a value for a cell: lists and tables become text."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _number(value: Any) -> float | None:
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _numbers(row: dict[str, Any]) -> dict[str, float | None]:
    """Return the numbers of a line of a curve, without those that are settings of the run."""
    settings = ("seed", "batch_size", "device_count", "run")
    return {
        name: _number(value)
        for name, value in row.items()
        if name not in settings and not isinstance(value, str | list | dict)
    }


def _table(runs: list[dict[str, Any]], evaluations: list[dict[str, Any]]) -> pd.DataFrame:
    """Join the evaluations, whose `run` is an index into runs, with the settings of their runs."""
    table = pd.DataFrame(runs, columns=_names(_RUN_COLUMNS, runs))
    for name in (*_NUMBERS, "budget_steps", "budget_seconds", "target_value", "tuning_trials"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    texts = pd.DataFrame([{name: _text(value) for name, value in run.items()} for run in runs])
    texts = texts.reindex(columns=table.columns)[table["status"] != "damaged"]
    table["case"] = _labels(table, texts, ["problem"], ("heldout_size",))
    shown = ("batch_size", "train_size", "network", "dtype", "start")
    table["method"] = _labels(table, texts, ["case", "rule"], shown)
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
