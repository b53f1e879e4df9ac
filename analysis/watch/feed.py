"""Feed: the records of the runs below a folder, read again when they change."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from physopt.analysis.load import frame_of, read_run, runs_of
from physopt.records import Record, RunFolder, find_runs
from physopt.records.record import DAMAGED
from physopt.records.status import FINISHED, STATUSES

RUNNING = "running"
_TRAINING = "training"

_FILES = ("config.json", "status.json", "curve.jsonl", "figure.png")


class Progress(NamedTuple):
    """How far a run is."""

    phase: str
    """What it does, "" unless it is running."""
    step: int
    seconds: float
    """Training time."""
    share: float | None
    """Of the budget spent, at most 1; None without a budget."""
    drawn: int | None
    """Time of its picture of designs in ns since 1970, None if there is none."""

    def text(self) -> str:
        """Return what the run does, or the updates that it has made."""
        if self.phase and self.phase != _TRAINING:
            return self.phase
        share = f", {self.share:.0%} of the budget" if self.phase and self.share is not None else ""
        return f"{self.step} updates{share}"


class _Entry(NamedTuple):
    stamp: tuple[Any, ...]
    run: dict[str, Any]
    rows: list[dict[str, float | None]]
    progress: Progress


class Feed:
    """The runs below a folder, which may not exist yet.

    `frame` is that of `analysis.load`, but with the newest records of a run, even while earlier
    ones count; `progress` is {folder: Progress}. `version` grows when anything changes.
    """

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.version = 0
        self.frame = frame_of([], [])
        self.progress: dict[str, Progress] = {}
        self.remark = ""
        self._entries: dict[Path, _Entry] = {}

    def poll(self) -> bool:
        """Read the runs whose files have changed; return whether any has."""
        entries: dict[Path, _Entry] = {}
        for folder in find_runs(self.root):
            before = self._entries.get(folder.path)
            stamp = _stamp(folder, before)
            unchanged = before is not None and before.stamp == stamp
            entries[folder.path] = before if unchanged else _entry(folder, stamp)
        old, self._entries = self._entries, entries
        if old.keys() == entries.keys() and all(old[path] is entries[path] for path in entries):
            return False
        runs = [{**entry.run, "source": str(self.root)} for entry in entries.values()]
        curves = [entry.rows or [{}] for entry in entries.values()]
        rows = [{**row, "run": k} for k, curve in enumerate(curves) for row in curve]
        self.frame = frame_of(runs, rows)
        self.progress = {str(path): entry.progress for path, entry in entries.items()}
        self.version += 1
        return True

    def say(self, remark: str) -> None:
        """Show a remark on the page or the terminal."""
        self.remark = remark
        self.version += 1

    def runs(self) -> pd.DataFrame:
        """Return one row per run: those that are running first, then the newest."""
        runs = runs_of(self.frame)
        order = runs.assign(active=runs["status"] == RUNNING)
        return order.sort_values(["active", "finished"], ascending=False, kind="stable")

    @property
    def active(self) -> bool:
        """Whether a run is running."""
        return bool((self.frame["status"] == RUNNING).any())

    def counts(self) -> str:
        """Return how many runs are running, and how many have ended in which way."""
        counts = Counter(runs_of(self.frame)["status"])
        if not counts:
            missing = "" if self.root.is_dir() else " (there is no such folder yet)"
            return f"no runs below {self.root}{missing}: waiting for the first"
        ended = [(name, counts[name]) for name in (*STATUSES, DAMAGED) if counts[name]]
        how = ", ".join(f"{number} {name}" for name, number in ended)
        text = f"{counts[RUNNING]} running, {sum(number for _, number in ended)} ended"
        return f"{text}: {how}" if how else text


def _stamp(folder: RunFolder, before: _Entry | None) -> tuple[Any, ...]:
    """Return what changes whenever the records do, or the process of the run ends."""
    states = []
    for name in _FILES:
        try:
            state = os.stat(folder.path / name)
            states.append((state.st_mtime_ns, state.st_size, state.st_ino))
        except (OSError, ValueError):
            states.append(None)
    finished = before is not None and before.run["status"] in FINISHED
    return *states, not finished and folder.is_locked()


def _entry(folder: RunFolder, stamp: tuple[Any, ...]) -> _Entry:
    record = Record(folder)
    run, rows = read_run(record, folder.path)
    status, newest = record.progress, rows[-1] if rows else {}
    step = max(status.get("step") or 0, newest.get("step") or 0)
    seconds = max(status.get("t_train") or 0.0, newest.get("t_train") or 0.0)
    spent = ((step, run["budget_steps"]), (seconds, run["budget_seconds"]))
    shares = [value / budget for value, budget in spent if budget]
    phase = str(status.get("phase") or "starting") if run["status"] == RUNNING else ""
    share = min(1.0, max(shares)) if shares else None
    return _Entry(stamp, run, rows, Progress(phase, int(step), seconds, share, _drawn(stamp)))


def _drawn(stamp: tuple[Any, ...]) -> int | None:
    picture = stamp[_FILES.index("figure.png")]
    return picture[0] if picture else None
