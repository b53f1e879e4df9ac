"""Worker: one run in a process of its own, watched over until it ends.

`execute` is what a sweep hands to Parsl. It runs where the run does, which may be another machine,
and needs nothing of JAX: it starts `python -m physopt run`, holds it to its time limit, and turns
the way it ended into the run's status.
"""

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import filelock

from physopt.machine.parent import PARENT
from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED, LOCKED, End, kills_for_memory, verdict
from physopt.sweeping.lease import Watch

GRACE_SECONDS = 10.0
"""Between the request to stop and the kill: time for a last checkpoint."""

_POLL_SECONDS = 0.1
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")
_TAIL_BYTES = 65536


@dataclasses.dataclass(frozen=True)
class Task:
    """A run as it is handed to a worker."""

    words: tuple[str, ...]
    """What is typed after `python -m physopt run`."""
    folder: str
    """Where the run is recorded, an absolute path."""
    record: dict[str, Any]
    """The content of config.json, for a run that ends before it can write it."""
    directory: str
    """Where the run's process works: relative paths start here."""
    lease: str
    """The file that says that the sweep goes on."""
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    accelerators: tuple[str, ...] = ()
    """Accelerators of this machine that the run may take; () leaves the choice to others."""
    devices: int = 1
    """How many of them it takes."""
    timeout: float | None = None
    """Wall-clock seconds."""
    results: tuple[str, ...] = FINISHED
    """Statuses with which a run is left alone."""
    force: bool = False
    """Begin anew whatever the run's status."""


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a run ended; status may also be `locked`: another process is working on the run."""

    status: str
    reason: str
    seconds: float = 0.0


def execute(task: Task) -> Ending:
    """Make a run, unless it is finished, locked or not wanted any more; return how it ended."""
    folder = RunFolder(task.folder)
    watch = Watch(task.lease, folder.path.name)
    with accelerators(task, watch) as environment, watch.running():
        if not watch.begun_in_time():
            return Ending("interrupted", "not started")
        earlier = folder.status()
        if earlier.get("status") in task.results and not task.force:
            return Ending(earlier["status"], str(earlier.get("reason", "")))
        if folder.is_locked():
            return Ending(LOCKED, "another process is working on this run")
        return _watched_run(task, folder, watch, environment)


def _watched_run(task: Task, folder: RunFolder, watch: Watch, environment: dict) -> Ending:
    before, kills, start = folder.read("status.json"), kills_for_memory(), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "physopt", "run", *task.words],
        cwd=task.directory,
        env={**os.environ, **environment, PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C in the terminal is the sweep's to pass on
    )
    try:
        stopped_by, errors = _supervise(process, task.timeout, watch)
    except BaseException:
        _signal(process, signal.SIGKILL)
        process.wait()
        raise
    seconds = time.monotonic() - start
    after = kills_for_memory()
    killed = None if kills is None or after is None else after > kills
    own = folder.read("status.json")
    if own == before and (task.force or own.get("status") not in FINISHED):
        own = {}
    end = End(process.returncode, stopped_by, errors, killed)
    ending = Ending(*verdict(end, own, task.timeout), seconds)
    return record_ending(ending, folder, task.record, end)


def _supervise(
    process: subprocess.Popen, timeout: float | None, watch: Watch
) -> tuple[Literal["timeout", "sweep"] | None, str]:
    """Wait for the end of a process; return why it was stopped, and the last it said."""
    assert process.stderr is not None
    pipe, tail = process.stderr.fileno(), b""
    start, told, stopped_by = time.monotonic(), 0.0, None
    open_pipe = True
    while process.poll() is None:
        if open_pipe and select.select([pipe], [], [], _POLL_SECONDS)[0]:
            chunk = os.read(pipe, _TAIL_BYTES)
            tail, open_pipe = (tail + chunk)[-_TAIL_BYTES:], chunk != b""
        elif not open_pipe:
            time.sleep(_POLL_SECONDS)
        now = time.monotonic()
        if stopped_by is None:
            if timeout is not None and now - start > timeout:
                stopped_by = "timeout"
            elif not watch.valid():
                stopped_by = "sweep"
            if stopped_by is not None:
                _signal(process, signal.SIGTERM)
                told = now
        elif now - told > GRACE_SECONDS:
            _signal(process, signal.SIGKILL)
    _signal(process, signal.SIGKILL)  # what it started ends with it
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(pipe, _TAIL_BYTES):
            tail = (tail + chunk)[-_TAIL_BYTES:]
    process.stderr.close()
    return stopped_by, tail.decode(errors="replace")


def _signal(process: subprocess.Popen, number: signal.Signals) -> None:
    """Send a signal to a process and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def record_ending(ending: Ending, folder: RunFolder, record: dict[str, Any], end: End) -> Ending:
    """Write down how a run ended; one that another process has taken meanwhile is left to it."""
    if ending.status == LOCKED:
        return ending
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        with folder.lock.acquire(timeout=1.0, blocking=True):
            now = folder.read("status.json")
            if now.get("status") in FINISHED and ending.status not in FINISHED:
                return Ending(now["status"], str(now.get("reason", "")), ending.seconds)
            spent = now.get("wall_seconds")
            spent = spent if isinstance(spent, int | float) else 0.0
            if not folder.exists():
                folder.write("config.json", record)
            if end.errors and ending.status not in FINISHED:
                (folder.path / "log.txt").write_text(end.errors, encoding="utf-8")
            folder.write_status(
                ending.status,
                ending.reason,
                wall_seconds=round(spent + ending.seconds, 3),
                exit_code=end.exit_code,
            )
    except filelock.Timeout:
        return Ending(LOCKED, "another process is working on this run")
    except OSError as error:  # a full disk: the sweep goes on, the next one repeats this run
        reason = f"{ending.reason}; its status could not be written: {error}"
        status = ending.status if ending.status in FINISHED else "error"
        return Ending(status, reason, ending.seconds)
    return ending


@contextlib.contextmanager
def accelerators(task: Task, watch: Watch) -> Iterator[dict[str, str]]:
    """Hold as many accelerators as the run spreads over; yield the run's environment.

    A lock for each keeps two sweeps of one user from sharing an accelerator. Who does not get all
    at once holds none, so that two runs never wait for each other's.
    """
    if not task.accelerators:
        yield task.environment
        return
    place = Path(tempfile.gettempdir())
    locks = {
        name: filelock.FileLock(place / f"physopt-{os.getuid()}-accelerator-{name}.lock")
        for name in task.accelerators
    }
    while watch.valid():
        with contextlib.ExitStack() as held:
            names = []
            for name, lock in locks.items():
                if len(names) == task.devices:
                    break
                with contextlib.suppress(filelock.Timeout):
                    held.enter_context(lock.acquire(blocking=False))
                    names.append(name)
            if len(names) == task.devices:
                yield {**task.environment, **dict.fromkeys(_VISIBLE, ",".join(names))}
                return
        time.sleep(_POLL_SECONDS)
    yield task.environment
