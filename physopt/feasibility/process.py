"""Process: the subprocess that compiles and runs cells, under limits of time and memory.

On a CPU it is killed when its training program holds more memory than the limit, and everywhere
when the machine runs short of memory, so that a cell can harm neither the map nor the machine.
"""

import contextlib
import json
import math
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self

import psutil

from physopt.config import RunConfig
from physopt.options import OptionError
from physopt.records.status import verdict
from physopt.sweeping.supervise import GRACE_SECONDS, Child

RESERVE_BYTES = 2**30
"""Free memory of the machine below which a cell is killed."""

_POLL_SECONDS = 0.02
"""Interval between two measurements of memory: a core touches some 100 MB in it."""


class Answered(NamedTuple):
    """The answer of the process, or how it ended without one."""

    status: Literal["ok", "refused", "oom", "timeout", "error"]
    reason: str = ""
    content: Mapping[str, Any] = {}
    peak: float = 0.0
    """The largest memory that the training program was seen to hold on a CPU; 0 if not measured."""


class CellProcess:
    """A process that compiles and runs cells; one that died is started again."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = environment or {}
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.end()

    def ask(
        self, request: str, config: RunConfig, timeout: float, limit: float = math.inf
    ) -> Answered:
        """Request "device", "compile" or "run" of a run, and wait for the last answer.

        limit: bytes that the training program may hold, if it is run on a CPU. Raises OptionError
        if the process cannot use the config.
        """
        child = self._running()
        message = {"request": request, "record": config.record()}
        child.write(json.dumps(message, default=str) + "\n")
        start, baseline, peak, stopped = time.monotonic(), math.inf, 0.0, None
        for answer in _answers(child):
            if "option" in answer:
                raise OptionError(object, *answer["option"])
            if answer:
                # In use before the program runs; any other answer is the last one.
                baseline = answer.get("content", {}).get("baseline")
                if baseline is None:
                    return Answered(**answer, peak=peak)
            if limit < math.inf:
                with contextlib.suppress(psutil.Error):  # it has ended
                    resident = psutil.Process(child.process.pid).memory_info().rss
                    peak = max(peak, resident - baseline)
            if peak > limit:
                stopped = "oom", "killed when it held more than the limit"
            elif time.monotonic() - start > timeout:
                stopped = "timeout", f"wall-clock limit of {timeout:g} s"
            elif psutil.virtual_memory().available < RESERVE_BYTES:
                stopped = "error", "killed when the machine ran short of memory"
            if stopped is not None:
                break
        else:  # it ended without the last answer
            child.ended_within(GRACE_SECONDS)
        self._child, end = None, child.end()
        status, reason = stopped or verdict(end, {}, None)
        return Answered(status if status in ("oom", "timeout") else "error", reason, {}, peak)

    def _running(self) -> Child:
        if self._child is not None and self._child.ended_within(0.0):
            self._child.end()
            self._child = None
        if self._child is None:
            command = ["physopt.feasibility.cell"]
            self._child = Child(command, self._environment, stdout=subprocess.PIPE)
        return self._child


def _answers(child: Child) -> Iterator[dict[str, Any]]:
    """Yield the answers of a process until it ends, {} after each interval without one."""
    assert child.process.stdout is not None
    pipe, rest = child.process.stdout.fileno(), b""
    while True:
        if not select.select([pipe], [], [], _POLL_SECONDS)[0]:
            yield {}
        elif chunk := os.read(pipe, 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(json.loads, lines)
        else:
            return
