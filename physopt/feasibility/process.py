"""Process: the subprocess that compiles and runs cells, under limits of time and memory.

On a CPU it is killed when its training program holds more memory than the limit, and everywhere
when the machine runs short of memory, so that a cell can harm neither the map nor the machine.
"""

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import psutil

from physopt.config import RunConfig
from physopt.options import OptionError
from physopt.records.status import End, verdict
from physopt.sweeping.supervise import GRACE_SECONDS, Child

RESERVE_BYTES = 2**30
"""Free memory of the machine below which a cell is killed."""

_POLL_SECONDS = 0.02
"""Interval between two measurements of memory: a core touches some 100 MB in it."""

Stopped = Literal["timeout", "oom", "short"]


class Answered(NamedTuple):
    """The answer of the process, or how it ended without one."""

    answer: dict[str, Any]
    status: Literal["ok", "refused", "oom", "timeout", "short", "error"]
    reason: str = ""
    peak: float = 0.0
    """The largest memory that the training program was seen to hold on a CPU; 0 if not measured."""


class CellProcess:
    """A process that compiles and runs cells; one that died is started again."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = dict(environment or {})
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.end()

    def ask(
        self, request: str, config: RunConfig, timeout: float, limit: float | None = None
    ) -> Answered:
        """Request "device", "compile" or "run" of a run, and wait for the last answer.

        limit: bytes that the training program may hold, if it is run on a CPU. Raises OptionError
        if the process cannot use the config.
        """
        child = self._started()
        message = {"request": request, "record": config.record()}
        child.write(json.dumps(message, default=str) + "\n")
        answer, stopped, peak = _last_answer(child, timeout, limit)
        if answer is not None:
            return _judged(answer, peak)
        self._child = None
        if stopped is None:
            child.ended_within(GRACE_SECONDS)
            status, reason = verdict(child.end(), {}, timeout)
            return Answered({}, "oom" if status == "oom" else "error", reason, peak)
        child.end()
        reasons = {
            "timeout": f"wall-clock limit of {timeout:g} s",
            "oom": "killed when it held more than the limit",
            "short": "killed when the machine ran short of memory",
        }
        return Answered({}, stopped, reasons[stopped], peak)

    def _started(self) -> Child:
        if self._child is not None and self._child.ended_within(0.0):
            self._child.end()
            self._child = None
        if self._child is None:
            command = ["physopt.feasibility.cell"]
            self._child = Child(command, self._environment, stdout=subprocess.PIPE)
        return self._child


def _last_answer(
    child: Child, timeout: float, limit: float | None
) -> tuple[dict[str, Any] | None, Stopped | None, float]:
    """Return the last answer or why to stop waiting, and the largest memory that was seen.

    Neither of them if the process ended. Only the answer with `baseline`, the memory in use before
    a program runs, is followed by another one.
    """
    assert child.process.stdout is not None
    pipe, buffer, baseline, peak = child.process.stdout.fileno(), b"", None, 0.0
    measured, start = psutil.Process(child.process.pid), time.monotonic()
    while True:
        if select.select([pipe], [], [], _POLL_SECONDS)[0]:
            chunk = os.read(pipe, 65536)
            if not chunk:
                return None, None, peak
            *lines, buffer = (buffer + chunk).split(b"\n")
            for answer in map(json.loads, lines):
                if "baseline" not in answer:
                    return answer, None, peak
                baseline = answer["baseline"]
        if baseline is not None and limit is not None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, measured.memory_info().rss - baseline)
            if peak > limit:
                return None, "oom", peak
        if time.monotonic() - start > timeout:
            return None, "timeout", peak
        if psutil.virtual_memory().available < RESERVE_BYTES:
            return None, "short", peak


def _judged(answer: dict[str, Any], peak: float) -> Answered:
    if "option" in answer:
        raise OptionError(object, *answer["option"])
    if "refused" in answer:
        return Answered({}, "refused", answer["refused"], peak)
    if "error" in answer:
        # Judge the text of the exception like the last words of a process that died of it.
        status, reason = verdict(End(1, None, answer["error"], None), {}, None)
        reason = reason.removeprefix("exit code 1: ")
        return Answered({}, "oom" if status == "oom" else "error", reason, peak)
    return Answered(answer, "ok", "", peak)
