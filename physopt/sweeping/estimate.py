"""Outlook: what the records say about planned runs: which are done, how long others will take."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from physopt.config import RunConfig
from physopt.config.settings import UNRECORDED
from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED
from physopt.sweeping.plan import KINDS
from physopt.training import identity

_TYPICAL_OVERHEAD = 10.0  # seconds to start, compile and evaluate, where nothing is known


class Earlier(NamedTuple):
    """What an earlier run took."""

    record: dict[str, Any]
    device_kind: str
    per_update: float
    """Training seconds."""
    overhead: float | None
    """Wall-clock seconds beside training: start, compilation, evaluation, writing."""


def run_folder(config: RunConfig, kind: str | None) -> RunFolder:
    """Return the folder of a run on a kind of device.

    Without a kind: the folder in which it is finished on any, or else that on the kind it asks for.
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
    """Return what is known of the runs in these folders of one problem and one rule each."""
    found = []
    for path in (path for folder in folders for path in _records(folder)):
        folder = RunFolder(path.parent)
        status = folder.read("status.json")
        step, trained, wall = (_number(status, key) for key in ("step", "t_train", "wall_seconds"))
        if status.get("status") not in FINISHED or not step or trained is None:
            continue
        overhead = None if wall is None else max(0.0, wall - trained)
        kind = str(folder.read("env.json").get("device_kind"))
        found.append(Earlier(folder.read("config.json"), kind, trained / step, overhead))
    return found


def expected_seconds(
    config: RunConfig, kind: str | None, earlier: Sequence[Earlier]
) -> float | None:
    """Return the wall-clock seconds that a run will take, judged by the earlier runs most like it.

    None where no run of this problem and this rule has been made on this kind of device.
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


def _number(record: dict[str, Any], key: str) -> float | None:
    """Return a number of a record, None where it holds none: the file may be anybody's."""
    value = record.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _same_names(record: dict[str, Any], other: dict[str, Any]) -> bool:
    tables = ((record[kind], other.get(kind)) for kind in KINDS)
    return all(isinstance(b, dict) and b.get("name") == a["name"] for a, b in tables)


def _likeness(record: dict[str, Any], other: dict[str, Any]) -> int:
    """Count the settings and options that are equal, the budget and the seed apart."""
    count = sum(
        record[key] == other.get(key)
        for key in record
        if key not in ("problem", "rule", "seed", "steps", "seconds", *UNRECORDED)
    )
    for kind in KINDS:
        count += sum(other[kind].get(key) == value for key, value in record[kind].items())
    return count


def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/status.json"))
