"""Estimate: the state of planned runs and the time that they take, from the records."""

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from physopt.config import RunConfig
from physopt.config.parse import KINDS, flat_keys
from physopt.config.settings import UNRECORDED
from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED, LOCKED
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.plan import labels
from physopt.sweeping.resources import Machine
from physopt.training import identity

WAITING = "waiting"
_NOT_COMPARED = {"seed", "steps", "seconds", *UNRECORDED}
_TYPICAL_OVERHEAD = 10.0  # seconds to start, compile and evaluate, if no record has them


@dataclasses.dataclass
class Row:
    """A planned run and its state in a sweep."""

    config: RunConfig
    label: str
    folder: Path
    expected: float | None = None
    """Estimated wall-clock seconds."""
    status: str = WAITING
    reason: str = ""
    seconds: float = 0.0
    """Wall-clock seconds that this sweep spent on it."""
    retries: int = 0
    earlier: bool = False
    """It was done before this sweep began."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of problem and rule in its folder, without the module of a plug-in."""
        return self.folder.parent.parent.name, self.folder.parent.name

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do in this sweep."""
        return self.status not in (WAITING, LOCKED)

    def end(self, status: str, reason: str) -> None:
        """Record the end of the run."""
        self.status, self.reason = status, reason


class Earlier(NamedTuple):
    """The cost of an earlier run."""

    options: dict[str, Any]
    """Its record with flat keys: "problem", "problem.size", "seed"."""
    device_kind: str
    per_update: float
    """Training seconds."""
    overhead: float | None
    """Wall-clock seconds outside training: start, compilation, evaluation, writing."""


def planned_rows(
    configs: Sequence[RunConfig], options: SweepOptions, machine: Machine | None
) -> list[Row]:
    """Return the rows of a plan with what the records hold; without a machine, on any device."""
    rows, costs = [], functools.cache(earlier_runs)
    for config, label in zip(configs, labels(configs), strict=True):
        kind = None if machine is None else machine.kind(config.settings.device)
        folder = run_folder(config, kind)
        recorded = {} if config.settings.force else folder.status()
        row = Row(config, label, folder.path.absolute())
        row.expected = expected_seconds(config, kind, costs(folder.path.parent))
        if recorded.get("status") in options.results():
            row.end(str(recorded["status"]), str(recorded.get("reason", "")))
            row.earlier = True
        rows.append(row)
    return rows


def run_folder(config: RunConfig, kind: str | None) -> RunFolder:
    """Return the folder of a run on a kind of device.

    Without a kind: the folder in which it is finished on any, else that of the requested platform.
    """
    platform = config.settings.device or "cpu"
    folder = RunFolder(identity.folder(config, kind or platform))
    if kind is not None:
        return folder
    environments = (recorded.read("env.json") for recorded in _recorded(folder.path.parent))
    for known in sorted({str(environment.get("device_kind")) for environment in environments}):
        other = RunFolder(identity.folder(config, known))
        if other.status().get("status") in FINISHED:
            return other
    return folder


def earlier_runs(parent: Path) -> list[Earlier]:
    """Return the costs of the finished runs in a folder out/problem/rule."""
    runs = []
    for folder in _recorded(parent):
        status = folder.read("status.json")
        step, trained, wall = (status.get(key) for key in ("step", "t_train", "wall_seconds"))
        if status.get("status") in FINISHED and step and trained is not None:
            overhead = None if wall is None else max(0.0, wall - trained)
            options, kind = folder.read("config.json"), folder.read("env.json").get("device_kind")
            runs.append(Earlier(flat_keys(options), str(kind), trained / step, overhead))
    return runs


def expected_seconds(
    config: RunConfig, kind: str | None, earlier: Sequence[Earlier]
) -> float | None:
    """Return the estimated wall-clock seconds of a run, from the earlier runs most like it.

    They have the most equal settings and options, budget and seed aside. None if there is no
    earlier run of this problem and this rule on this kind of device.
    """
    if not earlier:
        return None
    options = flat_keys(config.record())
    alike = [
        other
        for other in earlier
        if kind in (None, other.device_kind)
        and all(other.options.get(key) == options[key] for key in KINDS)
    ]
    if not alike:
        return None
    compared = options.keys() - _NOT_COMPARED
    likeness = [sum(o.options.get(key) == options[key] for key in compared) for o in alike]
    highest = max(likeness)
    nearest = [o for o, count in zip(alike, likeness, strict=True) if count == highest]
    overheads = [o.overhead for o in nearest if o.overhead is not None]
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
    made: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.ended and not row.earlier and row.seconds:
            made.setdefault(row.names, []).append(row.seconds)
    means = {names: statistics.fmean(seconds) for names, seconds in made.items()}
    overall = statistics.fmean(itertools.chain(*made.values())) if made else None
    left, unknown = [0.0], 0
    for row in rows:
        if not row.ended:
            expected = means.get(row.names) or row.expected or overall
            left.append(max(0.0, (expected or 0.0) - spent.get(row.folder.name, 0.0)))
            unknown += expected is None
    return max(sum(left) / max(1, workers), max(left)), unknown


def _recorded(folder: Path) -> list[RunFolder]:
    """Return the runs in a folder out/problem/rule."""
    return [RunFolder(path.parent) for path in sorted(folder.glob("*/status.json"))]
