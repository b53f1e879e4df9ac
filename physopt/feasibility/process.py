"""Process: the one that holds a cell, and who watches over it.

The watch holds it to a time limit, and on a CPU to a memory limit: it is killed when its training
program holds more, or when the machine runs short of memory, so that no cell can do harm.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import psutil

from physopt.machine.parent import PARENT
from physopt.options import OptionError
from physopt.records.status import End, kills_for_memory, verdict

RESERVE_BYTES = 2**30
"""Memory of the machine that is left to others: below this a cell is killed."""

_POLL_SECONDS = 0.02
"""Between two looks at memory: a core touches some 100 MB meanwhile."""


class Answered(NamedTuple):
    """What came of a question: what the process said, or how it ended."""

    said: dict[str, Any]
    status: Literal["ok", "refused", "oom", "timeout", "short", "error"]
    reason: str = ""
    peak: float = 0.0
    """The most that the training program was seen to hold on a CPU; 0 where nobody looked."""


class CellProcess:
    """A process that answers questions about cells; one that died is started anew."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):
                    pipe.close()
            self._errors.close()

    def ask(
        self, ask: str, words: Sequence[str], timeout: float, limit: float | None = None
    ) -> Answered:
        """Ask about a run and wait for the last answer.

        limit: bytes that the run's training program may hold, where it is run on a CPU. Raises
        OptionError where the words are wrong.
        """
        process = self._started()
        kills = kills_for_memory()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"ask": ask, "words": list(words)}).encode() + b"\n")
            process.stdin.flush()
        said, stopped, peak = self._wait(process, ask, timeout, limit)
        if said is not None:
            return _judged(said, peak)
        if stopped is None:
            code = process.wait()
            after = kills_for_memory()
            killed = None if kills is None or after is None else after > kills
            status, reason = verdict(End(code, None, self._last_errors(), killed), {}, timeout)
            ended = Answered({}, "oom" if status == "oom" else "error", reason, peak)
        else:
            reason = {
                "timeout": f"wall-clock limit of {timeout:g} s",
                "oom": "killed when it held more than the limit",
                "short": "killed when the machine ran short of memory",
            }[stopped]
            ended = Answered({}, stopped, reason, peak)
        self.end()
        return ended

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.end()
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the process)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "physopt.feasibility.cell"],
                env={**os.environ, **self._environment, PARENT: str(os.getpid())},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,
            )
        return self._process

    def _wait(
        self, process: subprocess.Popen[bytes], ask: str, timeout: float, limit: float | None
    ) -> tuple[dict[str, Any] | None, Literal["timeout", "oom", "short"] | None, float]:
        """Return the last answer, or why there is none, and the most memory that was seen."""
        assert process.stdout is not None
        pipe, buffer, others, peak = process.stdout.fileno(), b"", None, 0.0
        seen, start = psutil.Process(process.pid), time.monotonic()
        while True:
            if select.select([pipe], [], [], _POLL_SECONDS)[0]:
                chunk = os.read(pipe, 65536)
                if not chunk:
                    return None, None, peak
                buffer += chunk
                while b"\n" in buffer:
                    line, _, buffer = buffer.partition(b"\n")
                    answer = json.loads(line)
                    if ask != "run" or "others" not in answer:
                        return answer, None, peak
                    others = answer["others"]
            if others is not None and limit is not None:
                with contextlib.suppress(psutil.Error):
                    peak = max(peak, seen.memory_info().rss - others)
                if peak > limit:
                    return None, "oom", peak
            if time.monotonic() - start > timeout:
                return None, "timeout", peak
            if psutil.virtual_memory().available < RESERVE_BYTES:
                return None, "short", peak

    def _last_errors(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-65536:].decode(errors="replace")


def _judged(said: dict[str, Any], peak: float) -> Answered:
    if "option" in said:
        raise OptionError(object, *said["option"])
    if "refused" in said:
        return Answered({}, "refused", said["refused"], peak)
    if "error" in said:
        # The words of an exception tell, as those of a process that died of it would.
        status, reason = verdict(End(1, None, said["error"], None), {}, None)
        reason = reason.removeprefix("exit code 1: ")
        return Answered({}, "oom" if status == "oom" else "error", reason, peak)
    return Answered(said, "ok", "", peak)
