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
        for file in (root / _FOLDER).glob("*/lease"):  # remove those of sweeps that were killed
            with contextlib.suppress(FileNotFoundError):  # its sweep has just ended
                if time.time() - file.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(file.parent, ignore_errors=True)
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


def sweep_is_alive(folder: Path) -> bool:
    """Return whether a sweep is active that records its runs in a folder or in one above it."""
    places = (folder.absolute(), *folder.absolute().parents)
    for file in (file for place in places for file in (place / _FOLDER).glob("*/lease")):
        with contextlib.suppress(OSError):  # its sweep has just ended
            if time.time() - file.stat().st_mtime < STALE_SECONDS:
                return True
    return False


class Watch:
    """The supervisor's side of the lease; `name` marks its run as active."""

    def __init__(self, file: str, name: str):
        self._file = Path(file)
        self._mark = self._file.parent / _RUNNING / name
        self._modified, self._renewed = 0.0, time.monotonic()

    def valid(self) -> bool:
        """Return whether the sweep is alive and wants the run."""
        try:
            modified = self._file.stat().st_mtime
        except OSError:
            return False
        # Clocks differ between machines: measure from the local time at which the mtime changed.
        if modified != self._modified:
            self._modified, self._renewed = modified, time.monotonic()
        return time.monotonic() - self._renewed < STALE_SECONDS

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Mark the run as active, and measure how old the lease is at this moment.

        Without a mark, for example on a full disk, the lease counts as new.
        """
        with contextlib.suppress(OSError):
            self._mark.touch()
            # Mark and lease both have the file server's time, whatever this machine's clock shows.
            self._modified = self._file.stat().st_mtime
            age = self._mark.stat().st_mtime - self._modified
            self._renewed = time.monotonic() - age
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._mark.unlink()
