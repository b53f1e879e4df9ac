"""Records: the folder of a run, written so that a crash cannot corrupt it.

    config.json   the settings, fully resolved       env.json     versions, device, commit
    curve.jsonl   one line per evaluation            status.json  progress and outcome
    test_metrics.npz   errors of each test sample, see physopt.records.samples
    checkpoints/  see physopt.records.checkpoints            figures      what the problem draws
    earlier/      the records before, until a repeat or an extension has finished

JSON is strict (NaN is null); files are replaced atomically; a curve line truncated by a crash is
ignored. The lock is held by the running process and is released when it ends.
"""

import contextlib
import errno
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock

from physopt.options import OptionError
from physopt.records.reading import Damage, read_curve, read_table
from physopt.records.status import FINISHED

FILES = ("config.json", "curve.jsonl", "status.json")
"""Files that mark a folder as that of a run."""

SOURCE = "source"
"""Subfolder of a run with copies of the plug-in files that it ran."""

EARLIER = "earlier"
"""Subfolder with the records of a finished run, until its repeat or extension has finished."""

_PARTIAL = ".earlier"

OWN_FOLDERS = ("checkpoints", "profile", SOURCE, EARLIER, _PARTIAL)
"""Subfolders of a run, which contain no runs."""


class Locked(OptionError):
    """Another process is working on the run."""


_LONGEST_ROW = 2**16
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.lock = filelock.FileLock(self.path / ".lock", blocking=False)

    def exists(self) -> bool:
        """Return whether a run has been recorded here."""
        return (self.path / "config.json").is_file()

    def set_aside(self) -> None:
        """Copy the records to EARLIER if the run is finished.

        Raises OSError if the disk is full; the run is then as before.
        """
        if self.read("status.json").get("status") not in FINISHED:
            return
        partial = self.path / _PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        try:
            own = shutil.ignore_patterns(".lock", EARLIER, _PARTIAL)
            shutil.copytree(self.path, partial, symlinks=True, ignore=own)
            shutil.rmtree(self.path / EARLIER, ignore_errors=True)
            partial.rename(self.path / EARLIER)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def results(self) -> "RunFolder":
        """Return the records that count: those set aside, while a repeat has not finished."""
        earlier = RunFolder(self.path / EARLIER)
        if earlier.exists() and self.read("status.json").get("status") not in FINISHED:
            return earlier
        return self

    def discard_earlier(self) -> None:
        """Remove the records that were set aside."""
        shutil.rmtree(self.path / EARLIER, ignore_errors=True)

    def clear(self) -> None:
        """Remove the files of an earlier attempt, except the lock and what was set aside."""
        # Without a status, the records that were set aside count: it is removed first.
        for path in sorted(self.path.iterdir(), key=lambda path: path.name != "status.json"):
            if path.name not in (".lock", EARLIER):
                real_folder = path.is_dir() and not path.is_symlink()
                shutil.rmtree(path) if real_folder else path.unlink()

    @contextlib.contextmanager
    def held(self, work: str = "run") -> Iterator[None]:
        """Lock the folder, creating it if missing.

        Raises Locked if another process holds the lock, and OptionError if no folder can be made
        at this path.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no fault of the path
                raise
            raise OptionError(object, "folder", self.path, f"{error.strerror}") from None
        try:
            # A status check holds the lock for a moment.
            self.lock.acquire(timeout=1.0, blocking=True)
        except filelock.Timeout:
            reason = f"another process is working on this {work}"
            raise Locked(object, "folder", self.path, reason) from None
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            reason = (
                "the file system has no locks, which keep two processes apart; use another out="
            )
            raise OptionError(object, "folder", self.path, reason) from None
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
        """Replace a text file of the folder atomically."""
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a file of the folder atomically."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not by tempfile, whose files no other user may read.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:  # above all a full disk: leave no partial file
            temporary.unlink(missing_ok=True)
            raise

    def read(self, name: str, like: str | None = None) -> dict[str, Any]:
        """Return the valid entries of a JSON file of the folder; {} if it is missing or damaged."""
        return self.checked(name, like)[0]

    def checked(self, name: str, like: str | None = None) -> tuple[dict[str, Any], Damage]:
        """Return the valid entries of a JSON file, and what is wrong with it; see `read_table`."""
        return read_table(self.path / name, like)

    def append(self, row: dict[str, Any]) -> None:
        """Add a line to the curve."""
        line = json.dumps(_strict(row), allow_nan=False) + "\n"
        with open(self.path / "curve.jsonl", "a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def curve(self) -> list[dict[str, Any]]:
        """Return the valid rows of the curve, without an incomplete last line."""
        return read_curve(self.path / "curve.jsonl")[0]

    def newest_row(self) -> dict[str, Any]:
        """Return the newest complete row of the curve, {} if there is none; reads its end only."""
        try:
            with (self.path / "curve.jsonl").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_ROW))
                lines = file.read().split(b"\n")
            row = json.loads(lines[-2]) if len(lines) > 1 else {}
        except (OSError, ValueError):
            return {}
        return row if isinstance(row, dict) else {}

    def truncate_curve(self, step: int) -> None:
        """Keep the rows up to a step, those that the checkpoint of this step includes."""
        rows = [row for row in self.curve() if row.get("step", math.inf) <= step]
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        self.write_text("curve.jsonl", text)

    def write_status(self, status: str, reason: str, **more: Any) -> None:
        """Update status and reason, keeping the other entries."""
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        new = {"status": status, "reason": reason, "time": moment, "pid": os.getpid()}
        self.write("status.json", {**self.read("status.json"), **new, **more})

    def status(self) -> dict[str, Any]:
        """Return status.json; a run with status running but without a lock was interrupted."""
        return self.current(self.read("status.json"))

    def current(self, status: dict[str, Any]) -> dict[str, Any]:
        """Return the content of status.json with status interrupted if the run's process ended."""
        if status.get("status") != "running" or self._lock_is_held() is not False:
            return status
        reason = "the process ended without a record (killed, machine stopped, or disk full)"
        return {**status, "status": "interrupted", "reason": reason}

    def is_locked(self) -> bool:
        """Return whether a process is working on this run."""
        return self._lock_is_held() is True

    def _lock_is_held(self) -> bool | None:
        """Return whether a process holds the lock, None if that cannot be known; write nothing."""
        try:
            import fcntl  # not on Windows

            # filelock would open the file for writing, which a reader may not be allowed to do.
            lock = os.open(self.path / ".lock", os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        except (ImportError, OSError):
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(lock)
        return False


def find_runs(root: Path | str) -> list[RunFolder]:
    """Return all runs at or below a folder, in the order of their paths.

    A folder that cannot be listed is among them: it may be a run.
    """
    paths = []

    def not_listed(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            paths.append(Path(error.filename))

    for path, below, files in os.walk(root, onerror=not_listed):
        # A damaged run may hold a folder in place of a file.
        if not any(name in FILES for name in (*files, *below)):
            continue
        paths.append(Path(path))
        # Skips most folders, and plug-in copies, which may have any name.
        below[:] = (name for name in below if name not in (*OWN_FOLDERS, *FILES))
    return [RunFolder(path) for path in sorted(paths)]


def _strict(value: Any) -> Any:
    """Return a value that strict JSON can represent: no NaN, infinity or NumPy scalar."""
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
