"""Status: the ways in which a run can end, their consequences, and how the end is determined.

STATUSES is the only table of them: whether a run is finished, failed or retried, and its exit code.
"""

import errno
import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Status(NamedTuple):
    """One way in which a run can end."""

    meaning: str
    exit_code: int
    """Exit code of the command that made the run."""
    finished: bool = False
    """The run is not repeated."""
    result: bool = False
    """Training reached the end of its budget or its target: the last losses are results."""
    failed: bool = False
    """Scores count the run as a failure of the rule or the machine."""
    retried: bool = False
    """A sweep retries the run while it has retries left."""


STATUSES: dict[str, Status] = {
    "ok": Status("all steps made", 0, finished=True, result=True),
    "target": Status("the target was reached", 0, finished=True, result=True),
    "budget": Status("all training seconds spent", 0, finished=True, result=True),
    "converged": Status("no update left to make", 0, finished=True, result=True),
    "diverged": Status("a loss or an update is not finite", 1, finished=True, failed=True),
    "skipped": Status("the rule refuses the problem", 3, finished=True),
    "oom": Status("out of memory", 1, failed=True),
    "timeout": Status("over the wall-clock limit", 1, failed=True),
    "error": Status("an exception or a crash", 1, failed=True, retried=True),
    "interrupted": Status("stopped before its end", 130, retried=True),
}

FINISHED = tuple(name for name, status in STATUSES.items() if status.finished)
FAILED = tuple(name for name, status in STATUSES.items() if status.failed)
RESULTS = tuple(name for name, status in STATUSES.items() if status.result)
RETRIED = tuple(name for name, status in STATUSES.items() if status.retried)
SETTLED = (*FINISHED, "oom")
"""Statuses with which a sweep leaves a run of an earlier sweep alone: more memory is unlikely."""

LOCKED = "locked"
"""Not a way to end: another process is working on the run."""

LOCKED_EXIT_CODE = 75
"""Exit code if another process is working on the run (EX_TEMPFAIL of sysexits.h)."""

_SHOWN = {"skipped": "refused"}


def shown_status(status: str) -> str:
    """Return a status as figures and reports name it: a run that was skipped was refused."""
    return _SHOWN.get(status, status)


_OWN = (*FINISHED, "oom", "error", "interrupted")
"""Statuses that the process of a run records itself."""

_OUT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|out of memory|OutOfMemory|MemoryError|std::bad_alloc"
    r"|Cannot allocate memory|oom[-_]?kill",
    re.IGNORECASE,
)

_DISK_ERRORS = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EROFS", "ESTALE")
_DISK = re.compile(
    "|".join(re.escape(os.strerror(getattr(errno, n))) for n in _DISK_ERRORS if hasattr(errno, n))
)
"""A disk that is full, over its quota, failing or gone."""


def failure_status(text: str) -> str:
    """Return the status of a run that raised an exception, from its type and message.

    A disk that takes no more records says nothing about the rule: the run is interrupted. This is
    decided first, since TensorStore reports RESOURCE_EXHAUSTED for a full disk too.
    """
    if _DISK.search(text):
        return "interrupted"
    return "oom" if _OUT_OF_MEMORY.search(text) else "error"


class End(NamedTuple):
    """How a process ended, as its supervisor observed it."""

    exit_code: int
    """That of subprocess: negative for a signal."""
    stopped_by: Literal["timeout", "sweep"] | None
    """Why the supervisor stopped it, None if it ended by itself."""
    errors: str
    """The last part of its standard error."""
    killed_for_memory: bool | None
    """Whether the kernel killed a process for memory meanwhile; None if that is not known."""


def verdict(end: End, own: Mapping[str, Any], limit: float | None) -> tuple[str, str]:
    """Return status and reason of a run from the end of its process.

    `own` is the content of status.json, {} if this process wrote none; `limit` is the time limit in
    seconds. A finished run stays finished, whatever happened to its process afterwards.
    """
    status, reason = str(own.get("status", "")), str(own.get("reason", ""))
    if status in FINISHED:
        return status, reason
    if end.exit_code == LOCKED_EXIT_CODE:
        return LOCKED, "another process is working on this run"
    if end.stopped_by == "timeout":
        return "timeout", f"wall-clock limit of {limit:g} s"
    if end.stopped_by == "sweep":
        return "interrupted", reason if status == "interrupted" else "the sweep was interrupted"
    if status == "error":
        return failure_status(reason), reason
    if status in _OWN:
        return status, reason
    return _unrecorded(end)


def _unrecorded(end: End) -> tuple[str, str]:
    """Return status and reason of a run whose process recorded neither."""
    if end.exit_code == 0:  # a run of other source has a folder of its own
        why = "its source changed after the sweep began, or it ended the process itself"
        return "error", f"no record of this run: {why}; repeat the command"
    number = -end.exit_code if end.exit_code < 0 else end.exit_code - 128
    name = _signal_name(number)
    if name == "SIGKILL":
        if end.killed_for_memory is False:
            return "interrupted", "killed by SIGKILL, not for memory"
        by = "by the kernel" if end.killed_for_memory else "as the kernel does"
        return "oom", f"killed by SIGKILL, {by} when memory runs out"
    message = last_line(end.errors)
    if _DISK.search(message):
        return "interrupted", message
    if _OUT_OF_MEMORY.search(end.errors):
        return "oom", message
    if name in ("SIGINT", "SIGTERM"):
        return "interrupted", f"ended by {name}"
    how = f"ended by {name}" if name else f"exit code {end.exit_code}"
    return "error", f"{how}: {message}" if message else f"{how} without a message"


def last_line(text: str) -> str:
    """Return the last line that is not empty, shortened to 500 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("physopt: ")[:500] if lines else ""


def kills_for_memory() -> int | None:
    """Return the kernel's number of out-of-memory kills since boot, None if it has no count."""
    try:
        counters = Path("/proc/vmstat").read_text().split()
        return int(counters[counters.index("oom_kill") + 1])
    except (OSError, ValueError):
        return None


def _signal_name(number: int) -> str | None:
    try:
        return signal.Signals(number).name
    except ValueError:
        return None
