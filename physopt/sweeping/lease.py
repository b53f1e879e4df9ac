"""Lease: how the processes that watch over runs know that their sweep still wants them.

The sweep keeps a file fresh and removes it to stop; so a shared folder is all that it needs to
reach the processes of a cluster. Beside it lies one empty file for each run that is going on.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

STALE_SECONDS = 120.0
"""Without a sign of life for so long, a sweep is taken for dead."""

_FOLDER = ".sweeps"
_RUNNING = "running"
_FORGOTTEN_SECONDS = 86400.0


class Lease:
    """The sweep's end of it."""

    def __init__(self, root: Path):
        _sweep_away(root / _FOLDER)
        self.folder = root.absolute() / _FOLDER / uuid.uuid4().hex[:12]
        (self.folder / _RUNNING).mkdir(parents=True)
        self.file = self.folder / "lease"
        self.file.touch()

    def renew(self) -> None:
        """Give a sign of life."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self.file)

    def end(self) -> None:
        """Ask all runs to stop, and the waiting ones not to start."""
        self.file.unlink(missing_ok=True)

    def running(self) -> dict[str, float]:
        """Return {mark: seconds} of the runs that are going on, and for how long.

        Both times are the file server's, whatever the clocks of the machines say.
        """
        now, found = 0.0, {}
        with contextlib.suppress(OSError):  # it has ended, or somebody tidied up
            now = self.file.stat().st_mtime
        with contextlib.suppress(OSError):
            for mark in os.scandir(self.folder / _RUNNING):
                with contextlib.suppress(FileNotFoundError):  # its run has just ended
                    found[mark.name] = max(0.0, now - mark.stat().st_mtime)
        return found

    def remove(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Watch:
    """The end of the process that watches over a run; `name` marks the run as going on."""

    def __init__(self, file: str, name: str):
        self._file = file
        self._mark = Path(file).parent / _RUNNING / name
        self._seen: tuple[float | None, float] = (None, time.monotonic())

    def begun_in_time(self) -> bool:
        """Say whether the sweep was alive a moment ago; asked when the run is marked as going on.

        The mark has the file server's time as the lease has, whatever this machine's clock says.
        """
        try:
            age = os.stat(self._mark).st_mtime - os.stat(self._file).st_mtime
        except OSError:
            return self.valid()
        return age < STALE_SECONDS

    def valid(self) -> bool:
        """Say whether the sweep still wants the run."""
        try:
            modified = os.stat(self._file).st_mtime
        except OSError:
            return False
        # Clocks of two machines differ: what counts is when the time of the file last changed here.
        if modified != self._seen[0]:
            self._seen = (modified, time.monotonic())
        return time.monotonic() - self._seen[1] < STALE_SECONDS

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Mark the run as going on. Only the display would miss the mark."""
        with contextlib.suppress(OSError):
            self._mark.touch()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._mark.unlink()


def _sweep_away(folder: Path) -> None:
    """Remove what sweeps left that were killed."""
    for lease in folder.glob("*/lease"):
        if time.time() - lease.stat().st_mtime > _FORGOTTEN_SECONDS:
            shutil.rmtree(lease.parent, ignore_errors=True)
