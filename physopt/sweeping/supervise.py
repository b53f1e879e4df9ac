"""Supervision: programs run as child processes under limits, and their ends turned into statuses.

`Child` is one program with everything that it starts. `execute` makes one run of a sweep in a
child; it is what a sweep submits to its pool, may execute on another machine and does without JAX.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from physopt.machine.parent import PARENT
from physopt.records.folder import Locked, RunFolder
from physopt.records.status import (
    FINISHED,
    LOCKED,
    End,
    failure_status,
    kills_for_memory,
    verdict,
)
from physopt.sweeping.lease import Watch
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.resources import accelerators

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL: time for a last checkpoint."""

_POLL_SECONDS = 0.1
_TAIL_BYTES = 65536


class Child:
    """`python -m ARGUMENTS` in a process group of its own, killed when this process ends.

    The last 64 KiB of its standard error are kept. `stdout` is that of subprocess.Popen.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: str | None = None,
        stdout: int = subprocess.DEVNULL,
    ):
        self._kills, self._errors = kills_for_memory(), b""
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=directory,
            env={**os.environ, **environment, PARENT: str(os.getpid())},
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal reaches the supervisor alone
        )
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def write(self, text: str, *, close: bool = False) -> None:
        """Write to standard input, and close it if nothing follows.

        A child that has ended already reads nothing.
        """
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(text.encode())
            self.process.stdin.flush()
            if close:
                self.process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and everything that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end of the process; return whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode is not None

    def end(self, stopped_by: Literal["timeout", "sweep"] | None = None) -> End:
        """Kill what is left of the process group; return how the process ended."""
        self.signal(signal.SIGKILL)
        exit_code = self.process.wait()
        self._reader.join(1.0)  # a process outside the group may hold the pipe open
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        before, after = self._kills, kills_for_memory()
        killed = None if before is None or after is None else after > before
        return End(exit_code, stopped_by, self._errors.decode(errors="replace"), killed)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as pipe:
            while chunk := os.read(pipe.fileno(), _TAIL_BYTES):
                self._errors = (self._errors + chunk)[-_TAIL_BYTES:]


class Task(NamedTuple):
    """A run as it is submitted to a pool."""

    record: dict[str, Any]
    """The content of config.json; with `force` the run starts anew, whatever its status."""
    folder: str
    """Absolute path of the run's folder."""
    directory: str
    """Working directory of the run: relative paths start here."""
    lease: str
    """Path of the sweep's lease."""
    options: SweepOptions
    environment: Mapping[str, str]
    accelerators: tuple[str, ...] = ()
    """Accelerators of this machine that the run may take; () leaves the assignment to the pool."""
    trust: bool = False
    """Import the problem that the records of `start` name, see Settings."""


class Ending(NamedTuple):
    """How a run ended; the status may also be LOCKED: another process is working on the run."""

    status: str
    reason: str
    seconds: float = 0.0


_LOCKED_ENDING = Ending(LOCKED, "another process is working on this run")


def execute(task: Task) -> Ending:
    """Make a run, unless it is finished, locked or no longer wanted; return how it ended."""
    folder = RunFolder(task.folder)
    watch = Watch(task.lease, folder.path.name)
    with (
        accelerators(task.accelerators, task.record["devices"], watch) as visible,
        watch.running(),
    ):
        if not watch.valid():
            return Ending("interrupted", "not started")
        recorded = folder.status()
        if recorded.get("status") in task.options.results() and not task.record["force"]:
            return Ending(recorded["status"], str(recorded.get("reason", "")))
        if folder.is_locked():
            return _LOCKED_ENDING
        return _supervised_run(task, folder, watch, {**task.environment, **visible})


def _supervised_run(
    task: Task, folder: RunFolder, watch: Watch, environment: Mapping[str, str]
) -> Ending:
    before, start, stopped_by = folder.read("status.json"), time.monotonic(), None
    # The user named problem and rule to the sweep, so that their code may run.
    words = [f"{kind}={task.record[kind]['name']}" for kind in ("problem", "rule")]
    words += ["debug=true", *(["trust=true"] if task.trust else [])]
    timeout = task.options.timeout
    child = Child(["physopt", "run", "record=-", *words], environment, task.directory)
    try:
        child.write(json.dumps(task.record, default=str), close=True)
        stopped_by = _stop(child, timeout, watch)
    finally:
        end = child.end(stopped_by)
    seconds = time.monotonic() - start
    own = folder.read("status.json")
    if own == before and (task.record["force"] or own.get("status") not in FINISHED):
        own = {}
    ending = Ending(*verdict(end, own, timeout), seconds)
    return record_ending(ending, folder, task.record, end)


def _stop(child: Child, timeout: float | None, watch: Watch) -> Literal["timeout", "sweep"] | None:
    """Wait for the end of a child; return why it was stopped, None if it ended by itself.

    A child over its time limit, or no longer wanted, gets SIGTERM and GRACE_SECONDS.
    """
    start = time.monotonic()
    while not child.ended_within(_POLL_SECONDS):
        late = timeout is not None and time.monotonic() - start > timeout
        if late or not watch.valid():
            child.signal(signal.SIGTERM)
            child.ended_within(GRACE_SECONDS)
            return "timeout" if late else "sweep"
    return None


def record_ending(ending: Ending, folder: RunFolder, record: dict[str, Any], end: End) -> Ending:
    """Record how a run ended, unless another process has taken the run over meanwhile."""
    if ending.status == LOCKED:
        return ending
    try:
        with folder.held():
            recorded = folder.read("status.json")
            if recorded.get("status") in FINISHED and ending.status not in FINISHED:
                return Ending(recorded["status"], str(recorded.get("reason", "")), ending.seconds)
            if not folder.exists():
                folder.write("config.json", record)
            if end.errors and ending.status not in FINISHED:
                (folder.path / "log.txt").write_text(end.errors, encoding="utf-8")
            wall_seconds = recorded.get("wall_seconds", 0.0) + ending.seconds
            folder.write_status(
                ending.status,
                ending.reason,
                wall_seconds=round(wall_seconds, 3),
                exit_code=end.exit_code,
            )
    except Locked:
        return _LOCKED_ENDING
    except OSError as error:  # a full disk: the sweep continues, the next one repeats this run
        reason = f"{ending.reason}; its status could not be written: {error}"
        status = ending.status if ending.status in FINISHED else failure_status(str(error))
        return Ending(status, reason, ending.seconds)
    return ending
