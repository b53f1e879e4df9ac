"""Sweep: the runs of a plan, carried out by Parsl until each has ended as a row.

What is finished is left alone, what was interrupted goes on, what another process works on is
waited for. Nothing but the run folders remembers a sweep, so that one which was killed goes on when
it is given again, and several may share a folder of results.
"""

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import NamedTuple

from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.status import LOCKED, RETRIED, End
from physopt.sweeping import executors, worker
from physopt.sweeping.display import Display, Row, Silent
from physopt.sweeping.estimate import earlier_runs, expected_seconds, run_folder
from physopt.sweeping.lease import Lease
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.plan import PlannedRun, labels
from physopt.sweeping.submission import Submission, submission
from physopt.sweeping.worker import Ending
from physopt.training.interrupt import Interrupt

_LOOK_SECONDS = 0.5


class Survey(NamedTuple):
    """What a plan amounts to before anything runs."""

    rows: list[Row]
    """Each says where its run is recorded, whether it is done, how long it will take."""
    workers: int | None
    """Runs at once; None where the executor's file says, or no machine is fit."""
    remark: str = ""


def survey(runs: Sequence[PlannedRun], options: SweepOptions) -> Survey:
    """Compare a plan with the records; run nothing."""
    if options.executor:
        return Survey(_rows(runs, options, None), None)
    try:
        machine = _this_machine(runs)
    except OptionError as error:  # a plan may be made where it cannot be carried out
        return Survey(
            _rows(runs, options, None), None, f"{error.key}={error.value}: {error.reason}"
        )
    workers = options.workers or executors.default_workers(machine)
    return Survey(_rows(runs, options, machine), workers)


def sweep(
    runs: Sequence[PlannedRun], options: SweepOptions, display: Display | None = None
) -> list[Row]:
    """Carry out a plan; return how each run ended.

    Ctrl-C lets the runs write a last checkpoint and ends them; the sweep goes on when it is given
    again. Raises OptionError for a device that this machine lacks, before anything runs.
    """
    machine = None if options.executor else _this_machine(runs)
    lease = Lease(_root(runs))
    try:
        with submission(options, machine, lease) as parsl:
            rows = _rows(runs, options, parsl.machine)
            driver = _Driver(rows, parsl, lease, options.retries, display or Silent())
            try:
                driver.carry_out()
            finally:
                lease.end()
                driver.display.close()
    finally:
        lease.remove()
    return rows


class _Driver:
    """The loop that hands runs out and takes their endings in."""

    def __init__(
        self, rows: list[Row], parsl: Submission, lease: Lease, retries: int, display: Display
    ):
        self.rows, self.parsl, self.lease = rows, parsl, lease
        self.retries, self.display = retries, display
        self.futures: dict[Future[Ending], Row] = {}
        self.locked: list[Row] = []
        self.stopping = False

    def carry_out(self) -> None:
        """Run until every row has ended."""
        with Interrupt() as interrupt:
            for row in self.rows:
                if not row.ended:
                    self._start(row, fresh=row.run.config.settings.force)
            while self.futures or self.locked:
                self._look(interrupt)
                self.display.show(self.rows, self.lease.running())

    def _start(self, row: Row, *, fresh: bool = False) -> None:
        row.attempts += 1
        future = self.parsl.submit(row.run.words, row.run.config, row.folder, fresh=fresh)
        self.futures[future] = row

    def _look(self, interrupt: Interrupt) -> None:
        """Take in what has ended, and see to interruption and to locked runs."""
        ended: set[Future[Ending]] = set()
        if self.futures:
            ended, _ = wait(self.futures, _LOOK_SECONDS, FIRST_COMPLETED)
        else:
            time.sleep(_LOOK_SECONDS)
        self.lease.renew()
        for future in ended:
            self._take(self.futures.pop(future), future)
        if interrupt.requested() and not self.stopping:
            self.stopping = True
            self.lease.end()
            self.display.note("stopping: the runs write a last checkpoint")
        for row in tuple(self.locked):
            if self.stopping:
                self.locked.remove(row)
                row.end("interrupted", "not started: another process is working on it")
            elif not RunFolder(row.folder).is_locked():
                self.locked.remove(row)
                row.attempts -= 1
                self._start(row)

    def _take(self, row: Row, future: "Future[Ending]") -> None:
        """Take in how a run ended; it waits, is tried again, or has its row."""
        ending = _ending(row, future)
        row.seconds += ending.seconds
        if ending.status == LOCKED:
            row.status = LOCKED
            self.locked.append(row)
        elif ending.status in RETRIED and row.attempts <= self.retries and not self.stopping:
            self.display.note(f"trying again: {row.label} ({ending.reason})")
            self._start(row)
        else:
            row.end(ending.status, ending.reason)
            self.display.ended(row, self.rows)


def _ending(row: Row, future: "Future[Ending]") -> Ending:
    try:
        return future.result()
    except Exception as error:  # Parsl's, which has one class for each way to lose a worker
        text = " ".join(f"its worker was lost: {type(error).__name__}: {error}".split())
        ending = Ending("interrupted", text[:500])
        folder, end = RunFolder(row.folder), End(-1, None, "", None)
        return worker.record_ending(ending, folder, row.run.config.record(), end)


def _rows(
    runs: Sequence[PlannedRun], options: SweepOptions, machine: executors.Machine | None
) -> list[Row]:
    """Return the rows of a plan, as far as the records go; without a machine, on any device."""
    rows = []
    for run, label in zip(runs, labels(runs), strict=True):
        settings = run.config.settings
        kind = None if machine is None else machine.kind(settings.device)
        folder = run_folder(run.config, kind)
        row = Row(run, label, folder.path.absolute(), kind)
        recorded = {} if settings.force else folder.status()
        if recorded.get("status") in options.results():
            row.end(str(recorded["status"]), str(recorded.get("reason", "")))
            row.earlier = True
        rows.append(row)
    earlier = earlier_runs({row.folder.parent: None for row in rows})
    for row in rows:
        row.expected = expected_seconds(row.run.config, row.kind, earlier)
    return rows


def _root(runs: Sequence[PlannedRun]) -> Path:
    """Return the one folder of results."""
    roots = {run.config.settings.out for run in runs}
    if len(roots) > 1:
        reason = "a sweep has one folder of results"
        raise OptionError(object, "out", ",".join(sorted(map(str, roots))), reason)
    return roots.pop()


def _this_machine(runs: Sequence[PlannedRun]) -> executors.Machine:
    """Return what this machine has; JAX is asked only if a run may want more than a CPU."""
    asked = {(run.config.settings.device, run.config.settings.devices) for run in runs}
    only_cpu = {device for device, _ in asked} == {"cpu"}
    machine = executors.CPU_ONLY if only_cpu else executors.probe()
    for device, count in asked:
        machine.check(device, count)
    return machine
