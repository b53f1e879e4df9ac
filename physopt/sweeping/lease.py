"""Lease: how the supervisors of runs, here or on a cluster, learn that their sweep is still alive.

The sweep touches a file regularly and removes it to stop its runs; a shared folder is all that it
needs to reach the nodes of a cluster. Beside the file lies one empty file for each active run.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

STALE_SECONDS = 120.0
"""A lease that was not renewed for this long belongs to a dead sweep."""

_FOLDER = ".sweeps"
_RUNNING = "running"
_ABANDONED_SECONDS = 86400.0


class Lease:
    """The sweep's side of the lease."""

    def __init__(self, root: Path):
        _remove_abandoned(root / _FOLDER)
        self.folder = root.absolute() / _FOLDER / uuid.uuid4().hex[:12]
        (self.folder / _RUNNING).mkdir(parents=True)
        self.file = self.folder / "lease"
        self.file.touch()

    def renew(self) -> None:
        """Mark the sweep as alive."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.file)

    def end(self) -> None:
        """Request that active runs stop and queued runs do not start."""
        self.file.unlink(missing_ok=True)

    def running(self) -> dict[str, float]:
        """Return {mark: seconds since its start} of the active runs.

        Both times are the file server's: the clocks of the machines may differ.
        """
        now, seconds = 0.0, {}
        with contextlib.suppress(OSError):  # the lease has ended, or its folder was removed
            now = self.file.stat().st_mtime
        with contextlib.suppress(OSError):
            for mark in os.scandir(self.folder / _RUNNING):
                with contextlib.suppress(FileNotFoundError):  # the run has just ended
                    seconds[mark.name] = max(0.0, now - mark.stat().st_mtime)
        return seconds

    def remove(self) -> None:
        """Remove the lease's folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Watch:
    """The supervisor's side of the lease; `name` marks its run as active."""

    def __init__(self, file: str, name: str):
        self._file = file
        self._mark = Path(file).parent / _RUNNING / name
        self._seen: tuple[float | None, float] = (None, time.monotonic())

    def fresh(self) -> bool:
        """Return whether the lease was fresh when the run was marked as active.

        Mark and lease both have the file server's time, whatever this machine's clock shows.
        """
        try:
            age = os.stat(self._mark).st_mtime - os.stat(self._file).st_mtime
        except OSError:
            return self.valid()
        return age < STALE_SECONDS

    def valid(self) -> bool:
        """Return whether the sweep is alive and wants the run."""
        try:
            modified = os.stat(self._file).st_mtime
        except OSError:
            return False
        # Clocks differ between machines: measure from the local time at which the mtime changed.
        if modified != self._seen[0]:
            self._seen = (modified, time.monotonic())
        return time.monotonic() - self._seen[1] < STALE_SECONDS

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Mark the run as active. A mark that cannot be written affects only the display."""
        with contextlib.suppress(OSError):
            self._mark.touch()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._mark.unlink()


def _remove_abandoned(folder: Path) -> None:
    """Remove the leases of sweeps that were killed."""
    for lease in folder.glob("*/lease"):
        if time.time() - lease.stat().st_mtime > _ABANDONED_SECONDS:
            shutil.rmtree(lease.parent, ignore_errors=True)
