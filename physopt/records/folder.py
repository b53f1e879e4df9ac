"""Records: the folder that a run leaves behind, written so that no crash can spoil it.

    config.json   the settings, fully resolved       env.json     versions, device, commit
    curve.jsonl   one line per evaluation            status.json  how far, and how it ended
    checkpoints/  see physopt.records.checkpoints            figures      what the problem draws

JSON is strict (a NaN is null); whole files are replaced atomically; a curve line that was cut short
by a crash is not believed. The lock is held by the running process and vanishes with it.
"""

import contextlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from physopt.options import OptionError

SOURCE = "source"
"""Folder inside a run's, with copies of the plug-in files that it ran."""

OWN_FOLDERS = ("checkpoints", "profile", SOURCE)
"""Folders inside a run's, which hold no runs."""


class Locked(OptionError):
    """Another process is working on the run."""


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.lock = filelock.FileLock(self.path / ".lock", blocking=False)

    def exists(self) -> bool:
        """Say whether a run has been recorded here."""
        return (self.path / "config.json").is_file()

    def clear(self) -> None:
        """Remove what an earlier run left, but for the lock."""
        for path in self.path.iterdir():
            if path.name != ".lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    @contextlib.contextmanager
    def held(self, work: str = "run") -> Iterator[None]:
        """Hold the folder, made if need be, against other processes while they would do the same.

        Raises Locked where one of them has it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            # Who only looks whether a folder is locked holds the lock for a moment.
            self.lock.acquire(timeout=1.0, blocking=True)
        except filelock.Timeout:
            reason = f"another process is working on this {work}"
            raise Locked(object, "folder", self.path, reason) from None
        try:
            yield
        finally:
            self.lock.release()

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Replace a JSON file of the folder atomically."""
        self.write_text(name, json.dumps(_strict(content), indent=1, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Replace a file of the folder so that at any moment the old or the new one is there."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            try:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, path)
            except BaseException:  # a full disk above all, which must not be filled with remains
                os.unlink(file.name)
                raise

    def read(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the folder; {} where it is missing or damaged."""
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def append(self, row: dict[str, Any]) -> None:
        """Add a line to the curve."""
        line = json.dumps(_strict(row), allow_nan=False) + "\n"
        with open(self.path / "curve.jsonl", "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def curve(self) -> list[dict[str, Any]]:
        """Return the rows of the curve, without a last line that was cut short."""
        try:
            text = (self.path / "curve.jsonl").read_bytes().decode("utf-8", errors="replace")
        except OSError:
            return []
        rows = []
        for line in text.split("\n")[:-1]:  # what follows the last newline is incomplete
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows

    def truncate_curve(self, step: int) -> None:
        """Keep the rows up to a step: those that the checkpoint of this step stands for."""
        rows = [row for row in self.curve() if row.get("step", math.inf) <= step]
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self.write_text("curve.jsonl", text)

    def write_status(self, status: str, reason: str, **more: Any) -> None:
        """Replace the status; what else it held stays."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        new = {"status": status, "reason": reason, "time": moment, "pid": os.getpid()}
        self.write("status.json", {**self.read("status.json"), **new, **more})

    def status(self) -> dict[str, Any]:
        """Return status.json; a run that says running but holds no lock was interrupted."""
        status = self.read("status.json")
        if status.get("status") == "running" and not self.is_locked():
            reason = "the process ended without a word (killed, or the machine stopped)"
            status = {**status, "status": "interrupted", "reason": reason}
        return status

    def is_locked(self) -> bool:
        """Say whether a process is working on this run."""
        if not (self.path / ".lock").exists():
            return False
        try:
            with filelock.FileLock(self.path / ".lock", blocking=False):
                return False
        except filelock.Timeout:
            return True


def find_runs(root: Path | str) -> list[RunFolder]:
    """Return all runs at or below a folder, in the order of their paths."""
    found = []
    for path, below, files in os.walk(root):
        if "config.json" in files:
            found.append(Path(path))
        if "config.json" in files or "status.json" in files:
            # Most of the folders are in there, and a file of any name may be.
            below[:] = (name for name in below if name not in OWN_FOLDERS)
    return [RunFolder(path) for path in sorted(found)]


def _strict(value: Any) -> Any:
    """Return a value that strict JSON can hold: no NaN, no infinity, no numpy scalar."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
