"""Supervisor: runs workers, collects their rows, and replaces a worker that fails or hangs."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerator.rows import FAILED, NOT_MEASURED, Row, without_paths

START_SECONDS = 120.0
"""Limit on the start of a worker."""

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from accelerator.worker import main
sys.exit(main(json.loads(sys.argv[2])))
"""


class Worker:
    """A worker process and the lines that it writes."""

    def __init__(self, request: dict[str, Any]) -> None:
        folder = str(Path(__file__).resolve().parent.parent)
        command = [sys.executable, "-c", PROGRAM, folder, json.dumps(request)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def line(self, seconds: float) -> dict[str, Any] | None:
        """Return the next line, None at the end of the process; raise queue.Empty if it is late."""
        return self._lines.get(timeout=max(0.0, seconds))

    def stop(self) -> None:
        """End the process and those that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Supervisor:
    """The results of the cases so far, and the workers that measure the others."""

    def __init__(self, seconds: float, limit: float, report: Callable[[dict[str, Any]], None]):
        """seconds: for all cases. limit: for one. report: receives the result after each case."""
        self._deadline, self._limit = time.monotonic() + seconds, limit
        self._report = report
        self._machine: dict[str, Any] = {}
        self._cases: list[tuple[str, str]] = []
        self._rows: dict[str, list[dict[str, Any]]] = {}

    def result(self) -> dict[str, Any]:
        """Return {"machine": ..., "rows": ...} with a row for each case not measured yet."""
        rows: list[dict[str, Any]] = []
        for name, section in self._cases:
            rows += self._rows.get(name) or [Row(name, section, status=NOT_MEASURED).to_json()]
        return {"machine": self._machine, "rows": rows}

    def run(self, scale: str | None, only: list[str]) -> None:
        """Measure the cases that match `only` until all are done or the time is over."""
        while True:
            worker = Worker({"scale": scale, "only": only, "done": list(self._rows)})
            try:
                self._collect(worker)
            finally:
                worker.stop()
            self._report(self.result())
            if len(self._rows) == len(self._cases) or time.monotonic() >= self._deadline:
                return

    def _collect(self, worker: Worker) -> None:
        """Collect the rows of a worker until it ends or has to be stopped."""
        first = worker.line(START_SECONDS)
        if first is None:
            raise SystemExit("the measuring process did not start")
        self._machine = self._machine or first["machine"]
        self._cases = first["cases"]
        name = None
        while True:
            try:
                line = worker.line(min(self._limit, self._deadline - time.monotonic()))
            except queue.Empty:
                if time.monotonic() < self._deadline:
                    self._fail(name, f"stopped after {self._limit:.0f} s")
                return
            if line is None:
                self._fail(name, f"the process ended with exit code {worker.process.wait()}")
                return
            if "begin" in line:
                name = line["begin"]
                continue
            assert name is not None
            self._rows[name], name = line["rows"], None
            self._report(self.result())

    def _fail(self, name: str | None, message: str) -> None:
        """Record why the case that was being measured, if any, has no result."""
        if name is not None:
            row = Row(name, dict(self._cases)[name], status=FAILED, message=without_paths(message))
            self._rows[name] = [row.to_json()]
