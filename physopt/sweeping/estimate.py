"""Estimate: the state of planned runs and the time that they take, from the records."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from physopt.config import RunConfig
from physopt.config.parse import KINDS
from physopt.config.settings import UNRECORDED
from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED, LOCKED
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.plan import labels, short_names
from physopt.sweeping.resources import Machine
from physopt.training import identity

WAITING = "waiting"
_TYPICAL_OVERHEAD = 10.0  # seconds to start, compile and evaluate, if no record has them


@dataclasses.dataclass
class Row:
    """A planned run and its state in a sweep."""

    config: RunConfig
    label: str
    folder: Path
    kind: str | None = None
    """Device kind, None if only the cluster knows it."""
    expected: float | None = None
    """Estimated wall-clock seconds."""
    status: str = WAITING
    reason: str = ""
    seconds: float = 0.0
    """Wall-clock seconds that this sweep spent on it."""
    attempts: int = 0
    earlier: bool = False
    """It was done before this sweep began."""

    @property
    def names(self) -> tuple[str, str]:
        """The short names of problem and rule."""
        return short_names(self.config)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do in this sweep."""
        return self.status not in (WAITING, LOCKED)

    def end(self, status: str, reason: str) -> None:
        """Record the end of the run."""
        self.status, self.reason = status, reason


class Earlier(NamedTuple):
    """The cost of an earlier run."""

    record: dict[str, Any]
    device_kind: str
    per_update: float
    """Training seconds."""
    overhead: float | None
    """Wall-clock seconds outside training: start, compilation, evaluation, writing."""


def planned_rows(
    configs: Sequence[RunConfig], options: SweepOptions, machine: Machine | None
) -> list[Row]:
    """Return the rows of a plan with what the records hold; without a machine, on any device."""
    rows = []
    for config, label in zip(configs, labels(configs), strict=True):
        kind = None if machine is None else machine.kind(config.settings.device)
        folder = run_folder(config, kind)
        row = Row(config, label, folder.path.absolute(), kind)
        recorded = {} if config.settings.force else folder.status()
        if recorded.get("status") in options.results():
            row.end(str(recorded["status"]), str(recorded.get("reason", "")))
            row.earlier = True
        rows.append(row)
    earlier = earlier_runs({row.folder.parent: None for row in rows})
    for row in rows if earlier else ():
        row.expected = expected_seconds(row.config, row.kind, earlier)
    return rows


def run_folder(config: RunConfig, kind: str | None) -> RunFolder:
    """Return the folder of a run on a kind of device.

    Without a kind: the folder in which it is finished on any, else that of the requested platform.
    """
    if kind is not None:
        return RunFolder(identity.folder(config, kind))
    parent = identity.folder(config, "").parent
    recorded = (RunFolder(path.parent).read("env.json") for path in _records(parent))
    for known in sorted({str(record.get("device_kind")) for record in recorded}):
        folder = RunFolder(identity.folder(config, known))
        if folder.status().get("status") in FINISHED:
            return folder
    return RunFolder(identity.folder(config, config.settings.device or "cpu"))


def earlier_runs(folders: Iterable[Path]) -> list[Earlier]:
    """Return the costs of the finished runs in folders out/problem/rule."""
    runs = []
    for path in (path for folder in folders for path in _records(folder)):
        folder = RunFolder(path.parent)
        status = folder.read("status.json")
        step, trained, wall = (_number(status, key) for key in ("step", "t_train", "wall_seconds"))
        if status.get("status") not in FINISHED or not step or trained is None:
            continue
        overhead = None if wall is None else max(0.0, wall - trained)
        kind = str(folder.read("env.json").get("device_kind"))
        runs.append(Earlier(folder.read("config.json"), kind, trained / step, overhead))
    return runs


def expected_seconds(
    config: RunConfig, kind: str | None, earlier: Sequence[Earlier]
) -> float | None:
    """Return the estimated wall-clock seconds of a run, from the earlier runs most like it.

    None if there is no earlier run of this problem and this rule on this kind of device.
    """
    record = config.record()
    alike = [o for o in earlier if kind in (None, o.device_kind) and _same_names(record, o.record)]
    if not alike:
        return None
    scores = [_likeness(record, other.record) for other in alike]
    nearest = [other for other, score in zip(alike, scores, strict=True) if score == max(scores)]
    overheads = [other.overhead for other in nearest if other.overhead is not None]
    settings, training = config.settings, []
    if settings.seconds is not None:
        training.append(settings.seconds)
    if settings.steps is not None:
        training.append(settings.steps * statistics.median(o.per_update for o in nearest))
    return min(training) + (statistics.median(overheads) if overheads else _TYPICAL_OVERHEAD)


def seconds_left(
    rows: Sequence[Row], workers: int, spent: Mapping[str, float]
) -> tuple[float, int]:
    """Return the seconds left with `workers` concurrent runs, and the number of unknown runs.

    A run takes the mean of the runs of its problem and rule in this sweep, else its estimate from
    earlier runs, else the mean of this sweep, minus what it has spent already, {run id: seconds}.
    """
    made = [row for row in rows if row.ended and not row.earlier and row.seconds]
    overall = statistics.fmean(row.seconds for row in made) if made else None
    by_names: dict[tuple[str, str], list[float]] = {}
    for row in made:
        by_names.setdefault(row.names, []).append(row.seconds)
    left, unknown = [0.0], 0
    for row in rows:
        if row.ended:
            continue
        alike = by_names.get(row.names)
        expected = statistics.fmean(alike) if alike else row.expected or overall
        left.append(max(0.0, (expected or 0.0) - spent.get(row.folder.name, 0.0)))
        unknown += expected is None
    return max(sum(left) / max(1, workers), max(left)), unknown


def _number(record: dict[str, Any], key: str) -> float | None:
    """Return a number of a record that may be damaged, None if it holds none."""
    value = record.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _same_names(record: dict[str, Any], other: dict[str, Any]) -> bool:
    tables = ((record[kind], other.get(kind)) for kind in KINDS)
    return all(isinstance(b, dict) and b.get("name") == a["name"] for a, b in tables)


def _likeness(record: dict[str, Any], other: dict[str, Any]) -> int:
    """Count the equal settings and options, except for budget and seed."""
    count = sum(
        record[key] == other.get(key)
        for key in record
        if key not in (*KINDS, "seed", "steps", "seconds", *UNRECORDED)
    )
    for kind in KINDS:
        count += sum(other[kind].get(key) == value for key, value in record[kind].items())
    return count


def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/status.json"))
