"""Status: how a run can end, what follows from each end, and how a process's end is judged.

STATUSES is the one table: whoever needs to know whether a run is finished, failed or worth another
attempt, or which exit code stands for it, reads it here.
"""

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple


class Status(NamedTuple):
    """What follows from one way to end."""

    meaning: str
    exit_code: int
    """Of the command that made the run."""
    finished: bool = False
    """The run is not made again."""
    result: bool = False
    """Training reached the end of its budget or its target: the last losses count."""
    failed: bool = False
    """The rule or the machine did not get there: scores count the run as a failure."""
    retried: bool = False
    """A sweep starts the run again while it has retries left."""


STATUSES: dict[str, Status] = {
    "ok": Status("all steps made", 0, finished=True, result=True),
    "target": Status("the target was reached", 0, finished=True, result=True),
    "budget": Status("all training seconds spent", 0, finished=True, result=True),
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

LOCKED = "locked"
"""Not an end: another process is working on the run."""

LOCKED_EXIT_CODE = 75
"""Exit code where another process is working on the run (EX_TEMPFAIL of sysexits.h)."""

_OWN = (*FINISHED, "oom", "error", "interrupted")
"""Statuses that a run's own process records."""

_OUT_OF_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|out of memory|OutOfMemory|MemoryError|std::bad_alloc"
    r"|Cannot allocate memory|oom[-_]?kill",
    re.IGNORECASE,
)


class End(NamedTuple):
    """How a process ended, as the one that watched it saw it."""

    exit_code: int
    """As subprocess gives it: negative for a signal."""
    stopped_by: Literal["timeout", "sweep"] | None
    """Why it was told to end, None where it ended by itself."""
    errors: str
    """The last of its standard error."""
    killed_for_memory: bool | None
    """Whether the kernel killed a process for memory meanwhile; None where it does not say."""


def verdict(end: End, own: Mapping[str, Any], limit: float | None) -> tuple[str, str]:
    """Return status and reason of a run.

    `own` is what the run wrote into status.json, {} where this process wrote nothing; `limit` is
    its time limit in seconds. A result that the run came to holds, whatever happened afterwards.
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
    if status == "error" and _OUT_OF_MEMORY.search(reason):
        return "oom", reason
    if status in _OWN:
        return status, reason
    return _unsaid(end)


def _unsaid(end: End) -> tuple[str, str]:
    """Judge a process that ended without a word."""
    number = -end.exit_code if end.exit_code < 0 else end.exit_code - 128
    name = _signal_name(number)
    if name == "SIGKILL":
        if end.killed_for_memory is False:
            return "interrupted", "killed by SIGKILL, not for memory"
        seen = "by the kernel" if end.killed_for_memory else "as the kernel does"
        return "oom", f"killed by SIGKILL, {seen} when memory runs out"
    words = last_line(end.errors)
    if _OUT_OF_MEMORY.search(end.errors):
        return "oom", words
    if name in ("SIGINT", "SIGTERM"):
        return "interrupted", f"ended by {name}"
    how = f"ended by {name}" if name else f"exit code {end.exit_code}"
    return "error", f"{how}: {words}" if words else f"{how} without a word"


def last_line(text: str) -> str:
    """Return the last line that says something, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("physopt: ")[:500] if lines else ""


def kills_for_memory() -> int | None:
    """Return how often the kernel has killed for memory since it started, None if it is silent."""
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
