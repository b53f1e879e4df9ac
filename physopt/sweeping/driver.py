"""Driver: the runs of a plan, submitted to a pool until each has ended as a row.

Finished runs are left alone, interrupted ones continue, and locked ones wait for the process that
holds them. The run folders are the only memory of a sweep: the same command resumes a sweep that
was killed, and several sweeps may share a folder of results.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from physopt.config import RunConfig
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.status import LOCKED, RETRIED, End
from physopt.sweeping import resources, supervise
from physopt.sweeping.cluster import cluster_pool
from physopt.sweeping.display import SweepDisplay
from physopt.sweeping.estimate import WAITING, Row, planned_rows
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
    """Why this machine is not suitable."""


def survey(configs: Sequence[RunConfig], options: SweepOptions) -> Survey:
    """Compare a plan with the records; run nothing."""
    machine, workers, remark = None, None, ""
    if not options.executor:
        try:
            machine = _this_machine(configs)
            workers = resources.local_options(options, machine).workers
        except OptionError as error:  # planning is possible where running is not
            remark = f"{error.key}={error.value}: {error.reason}"
    return Survey(planned_rows(configs, options, machine), workers, remark)


def sweep(
    configs: Sequence[RunConfig], options: SweepOptions, display: SweepDisplay | None = None
) -> list[Row]:
    """Make the runs of a plan; return how each of them ended.

    On Ctrl-C the runs write a last checkpoint and end; the same sweep resumes them later. Raises
    OptionError for a device that this machine lacks, an unusable executor or several folders of
    results, before anything runs.
    """
    display = display or SweepDisplay()
    with contextlib.ExitStack() as stack:
        stack.callback(display.close)
        roots = {config.settings.out for config in configs}
        if len(roots) > 1:
            reason = "a sweep has one folder of results"
            raise OptionError(object, "out", ",".join(sorted(map(str, roots))), reason)
        machine = None if options.executor else _this_machine(configs)
        lease = Lease(*roots)
        stack.callback(lease.remove)
        if machine is None:
            assert options.executor is not None
            submit = stack.enter_context(cluster_pool(options.executor, lease.folder / "parsl"))
            machine, accelerators = submit(resources.probe, on_cpu=True).result(), ()
        else:
            options = resources.local_options(options, machine)
            accelerators = machine.accelerators()
            pool = resources.local_pool(options.workers or 1, len(accelerators))
            submit = stack.enter_context(pool)
        stack.callback(lease.end)  # before the pool waits for its runs
        rows = planned_rows(configs, options, machine)
        _Driver(rows, submit, machine, accelerators, options, lease, display).carry_out()
    return rows


@dataclasses.dataclass
class _Driver:
    """The loop that starts runs and records their ends."""

    rows: list[Row]
    submit: Submit
    machine: Machine
    accelerators: tuple[str, ...]
    """Accelerators to assign to runs; () leaves that to the cluster."""
    options: SweepOptions
    lease: Lease
    display: SweepDisplay
    futures: dict["Future[Ending]", Row] = dataclasses.field(default_factory=dict)
    stopping: bool = False

    def carry_out(self) -> None:
        """Run until every row has ended."""
        with Interrupt() as interrupt:
            for row in self.rows:
                if not row.ended:
                    self._start(row, force=row.config.settings.force)
            while not all(row.ended for row in self.rows):
                self._poll()
                if interrupt.requested() and not self.stopping:
                    self.stopping = True
                    self.lease.end()
                    self.display.note("stopping: the runs write a last checkpoint")
                self._start_unlocked()
                self.display.show(self.rows, self.lease.running())

    def _start(self, row: Row, *, force: bool = False) -> None:
        """Submit a run; with `force` it starts again even if it is finished."""
        settings = row.config.settings
        on_cpu = (settings.device or self.machine.default) == "cpu"
        environment = resources.thread_limits(self.options)
        if on_cpu:  # otherwise JAX reserves memory of an accelerator that the run does not use
            environment["JAX_PLATFORMS"] = "cpu"
        threads = {"threads": self.options.threads} if self.options.threads else {}
        task = Task(
            record={**row.config.record(), "force": force, **threads},
            folder=str(row.folder),
            directory=os.getcwd(),
            lease=str(self.lease.file),
            options=self.options,
            environment=environment,
            accelerators=() if on_cpu else self.accelerators,
            trust=settings.trust,
        )
        row.status = WAITING
        self.futures[self.submit(supervise.execute, task, on_cpu=on_cpu)] = row

    def _poll(self) -> None:
        """Wait a moment for runs to end, and handle their ends."""
        if not self.futures:
            time.sleep(_POLL_SECONDS)
        ended, _ = wait(self.futures, _POLL_SECONDS, FIRST_COMPLETED)
        self.lease.renew()
        for future in ended:
            row = self.futures.pop(future)
            self._end(row, _ending(row, future))

    def _end(self, row: Row, ending: Ending) -> None:
        """Record the end of an attempt: the run is locked, is retried, or has ended."""
        row.seconds += ending.seconds
        retry = ending.status in RETRIED and row.retries < self.options.retries
        if ending.status == LOCKED:
            row.status = LOCKED
        elif retry and not self.stopping:
            self.display.note(f"trying again: {row.label} ({ending.reason})")
            row.retries += 1
            self._start(row)
        else:
            row.end(ending.status, ending.reason)
            self.display.ended(row, self.rows)

    def _start_unlocked(self) -> None:
        """Start the locked runs that no other process is working on any more."""
        for row in self.rows:
            if row.status == LOCKED and self.stopping:
                row.end("interrupted", "not started: another process is working on it")
            elif row.status == LOCKED and not RunFolder(row.folder).is_locked():
                self._start(row)


def _ending(row: Row, future: "Future[Ending]") -> Ending:
    try:
        return future.result()
    except Exception as error:  # Parsl has a class of its own for each way to lose a worker
        text = " ".join(f"its worker was lost: {type(error).__name__}: {error}".split())
        ending = Ending("interrupted", text[:500])
        end = End(-1, None, "", None)
        return supervise.record_ending(ending, RunFolder(row.folder), row.config.record(), end)


def _this_machine(configs: Sequence[RunConfig]) -> Machine:
    """Return the devices of this machine; JAX is started only if a run may use an accelerator.

    Raises OptionError for a device that it lacks.
    """
    requested = {(config.settings.device, config.settings.devices) for config in configs}
    only_cpu = {device for device, _ in requested} == {"cpu"}
    machine = resources.CPU_ONLY if only_cpu else resources.probe()
    for device, count in requested:
        machine.kind(device, count)
    return machine
