"""Driver: the runs of a plan, submitted to a pool until each has ended as a row.

Finished runs are left alone, interrupted ones continue, and locked ones wait for the process that
holds them. The run folders are the only memory of a sweep: the same command resumes a sweep that
was killed, and several sweeps may share a folder of results.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import NamedTuple

from physopt.config import RunConfig
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.status import LOCKED, RETRIED, End
from physopt.sweeping import resources, supervise
from physopt.sweeping.cluster import cluster_pool
from physopt.sweeping.display import SweepDisplay
from physopt.sweeping.estimate import Row, planned_rows
from physopt.sweeping.lease import Lease
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.resources import Machine, Submit
from physopt.sweeping.supervise import Ending, Task
from physopt.training.interrupt import Interrupt

_POLL_SECONDS = 0.5


class Survey(NamedTuple):
    """A plan compared with the records, before anything runs."""

    rows: list[Row]
    """Each with its folder, its status and its estimated time."""
    workers: int | None
    """Concurrent runs; None if the executor's file decides, or if no machine is suitable."""
    remark: str = ""


def survey(configs: Sequence[RunConfig], options: SweepOptions) -> Survey:
    """Compare a plan with the records; run nothing."""
    if options.executor:
        return Survey(planned_rows(configs, options, None), None)
    try:
        machine = _this_machine(configs)
    except OptionError as error:  # planning is possible where running is not
        rows = planned_rows(configs, options, None)
        return Survey(rows, None, f"{error.key}={error.value}: {error.reason}")
    workers = resources.local_options(options, machine).workers
    return Survey(planned_rows(configs, options, machine), workers)


def sweep(
    configs: Sequence[RunConfig], options: SweepOptions, display: SweepDisplay | None = None
) -> list[Row]:
    """Make the runs of a plan; return how each of them ended.

    On Ctrl-C the runs write a last checkpoint and end; the same sweep resumes them later. Raises
    OptionError for a device that this machine lacks or an unusable executor, before anything runs.
    """
    machine = None if options.executor else _this_machine(configs)
    lease = Lease(_root(configs))
    try:
        if machine is None:
            assert options.executor is not None
            pool = cluster_pool(options.executor, lease.folder / "parsl")
        else:
            options = resources.local_options(options, machine)
            pool = resources.local_pool(options.workers or 1, len(machine.accelerators()))
        with pool as submit:
            site = _Site(
                submit,
                machine or submit(resources.probe, on_cpu=True).result(),
                () if machine is None else machine.accelerators(),
                options,
                lease,
            )
            rows = planned_rows(configs, options, site.machine)
            driver = _Driver(rows, site, display or SweepDisplay())
            try:
                driver.carry_out()
            finally:
                lease.end()
                driver.display.close()
    finally:
        lease.remove()
    return rows


class _Site(NamedTuple):
    """Where the runs of a sweep are made."""

    submit: Submit
    machine: Machine
    accelerators: tuple[str, ...]
    """Accelerators to assign to runs; () leaves that to the cluster."""
    options: SweepOptions
    lease: Lease

    def start(self, row: Row, *, fresh: bool) -> "Future[Ending]":
        """Submit a run; a fresh one starts again even if it is finished."""
        settings, threads = row.config.settings, self.options.threads
        on_cpu = (settings.device or self.machine.default) == "cpu"
        environment = {} if threads is None else resources.thread_environment(threads)
        if on_cpu:  # otherwise JAX reserves memory of an accelerator that the run does not use
            environment["JAX_PLATFORMS"] = "cpu"
        task = Task(
            record={**row.config.record(), "force": False},
            folder=str(row.folder),
            directory=os.getcwd(),
            lease=str(self.lease.file),
            environment=environment,
            accelerators=() if on_cpu else self.accelerators,
            devices=settings.devices,
            timeout=self.options.timeout,
            results=self.options.results(),
            trust=settings.trust,
            fresh=fresh,
        )
        return self.submit(supervise.execute, task, on_cpu=on_cpu)


class _Driver:
    """The loop that starts runs and records their ends."""

    def __init__(self, rows: list[Row], site: _Site, display: SweepDisplay):
        self.rows, self.site, self.display = rows, site, display
        self.futures: dict[Future[Ending], Row] = {}
        self.locked: list[Row] = []
        self.stopping = False

    def carry_out(self) -> None:
        """Run until every row has ended."""
        with Interrupt() as interrupt:
            for row in self.rows:
                if not row.ended:
                    self._start(row, fresh=row.config.settings.force)
            while self.futures or self.locked:
                self._poll(interrupt)
                self.display.show(self.rows, self.site.lease.running())

    def _start(self, row: Row, *, fresh: bool = False) -> None:
        row.attempts += 1
        self.futures[self.site.start(row, fresh=fresh)] = row

    def _poll(self, interrupt: Interrupt) -> None:
        """Wait a moment for runs to end; handle interruption and locked runs."""
        ended: set[Future[Ending]] = set()
        if self.futures:
            ended, _ = wait(self.futures, _POLL_SECONDS, FIRST_COMPLETED)
        else:
            time.sleep(_POLL_SECONDS)
        self.site.lease.renew()
        for future in ended:
            row = self.futures.pop(future)
            self._end(row, _ending(row, future))
        if interrupt.requested() and not self.stopping:
            self.stopping = True
            self.site.lease.end()
            self.display.note("stopping: the runs write a last checkpoint")
        for row in tuple(self.locked):
            if self.stopping:
                self.locked.remove(row)
                row.end("interrupted", "not started: another process is working on it")
            elif not RunFolder(row.folder).is_locked():
                self.locked.remove(row)
                row.attempts -= 1
                self._start(row)

    def _end(self, row: Row, ending: Ending) -> None:
        """Record the end of an attempt: the run is locked, is retried, or has ended."""
        row.seconds += ending.seconds
        if ending.status == LOCKED:
            row.status = LOCKED
            self.locked.append(row)
        elif (
            ending.status in RETRIED
            and row.attempts <= self.site.options.retries
            and not self.stopping
        ):
            self.display.note(f"trying again: {row.label} ({ending.reason})")
            self._start(row)
        else:
            row.end(ending.status, ending.reason)
            self.display.ended(row, self.rows)


def _ending(row: Row, future: "Future[Ending]") -> Ending:
    try:
        return future.result()
    except Exception as error:  # Parsl has a class of its own for each way to lose a worker
        text = " ".join(f"its worker was lost: {type(error).__name__}: {error}".split())
        ending = Ending("interrupted", text[:500])
        end = End(-1, None, "", None)
        return supervise.record_ending(ending, RunFolder(row.folder), row.config.record(), end)


def _root(configs: Sequence[RunConfig]) -> Path:
    """Return the folder of results, which all runs share."""
    roots = {config.settings.out for config in configs}
    if len(roots) > 1:
        reason = "a sweep has one folder of results"
        raise OptionError(object, "out", ",".join(sorted(map(str, roots))), reason)
    return roots.pop()


def _this_machine(configs: Sequence[RunConfig]) -> Machine:
    """Return the devices of this machine; JAX is started only if a run may use an accelerator."""
    requested = {(config.settings.device, config.settings.devices) for config in configs}
    only_cpu = {device for device, _ in requested} == {"cpu"}
    machine = resources.CPU_ONLY if only_cpu else resources.probe()
    for device, count in requested:
        machine.check(device, count)
    return machine
