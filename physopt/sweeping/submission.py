"""Submission: runs handed to Parsl, with what each may use."""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from physopt.config import RunConfig
from physopt.machine.parent import PARENT
from physopt.sweeping import executors, worker
from physopt.sweeping.executors import ACCELERATOR, CPU, Machine
from physopt.sweeping.lease import Lease
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.worker import Ending, Task


class Submission:
    """A running Parsl, and the machine that it makes runs on."""

    def __init__(self, kernel: Any, options: SweepOptions, machine: Machine | None, lease: Lease):
        self._kernel, self._options, self._lease = kernel, options, lease
        self._local = machine is not None
        self.machine: Machine = machine or self._app(executors.probe, CPU)().result()
        self._accelerators = self.machine.accelerators() if self._local else ()
        self._apps = {label: self._app(worker.execute, label) for label in (CPU, ACCELERATOR)}

    def submit(
        self, words: tuple[str, ...], config: RunConfig, folder: Path, *, fresh: bool
    ) -> "Future[Ending]":
        """Hand a run to Parsl; a fresh one begins anew even if it is finished."""
        on_cpu = (config.settings.device or self.machine.default) == "cpu"
        words = tuple(word for word in words if not word.startswith(("force=", "debug=")))
        task = Task(
            words=(*words, "debug=true", *(["force=true"] if fresh else [])),
            folder=str(folder),
            record=config.record(),
            directory=os.getcwd(),
            lease=str(self._lease.file),
            environment=self._environment(on_cpu),
            accelerators=() if on_cpu else self._accelerators,
            devices=config.settings.devices,
            timeout=self._options.timeout,
            results=self._options.results(),
            force=fresh,
        )
        return self._apps[CPU if on_cpu else ACCELERATOR](task)

    def _environment(self, on_cpu: bool) -> dict[str, str]:
        threads = self._options.threads
        if threads is None and self._local:
            workers = self._options.workers or executors.default_workers(self.machine)
            threads = executors.default_threads(workers)
        environment = {} if threads is None else executors.thread_environment(threads)
        if on_cpu:  # without it JAX takes memory of an accelerator that the run does not use
            environment["JAX_PLATFORMS"] = "cpu"
        return environment

    def _app(self, function: Callable[..., Any], label: str) -> Any:
        from parsl import python_app

        labels = [label] if self._local else "all"
        return python_app(function, data_flow_kernel=self._kernel, executors=labels)


@contextlib.contextmanager
def submission(
    options: SweepOptions, machine: Machine | None, lease: Lease
) -> Iterator[Submission]:
    """Start Parsl on this machine, or without one where the executor's file says.

    Raises OptionError where that file makes no configuration.
    """
    from parsl.dataflow.dflow import DataFlowKernel

    with tempfile.TemporaryDirectory(prefix="physopt-", ignore_cleanup_errors=True) as scratch:
        if machine is not None:
            workers = options.workers or executors.default_workers(machine)
            config = executors.local(workers, len(machine.accelerators()), Path(scratch))
        else:
            assert options.executor is not None
            config = executors.from_file(options.executor)
            if config.run_dir == "runinfo":  # Parsl's default, in the working directory
                config.run_dir = str(lease.folder / "parsl")
            _tie(config)
        with _own_programs(), _quiet(), DataFlowKernel(config) as kernel:
            yield Submission(kernel, options, machine, lease)


def _tie(config: Any) -> None:
    """Let Parsl's interchange, and with it the workers, end with this process, however it ends."""
    tied = ["env", f"{PARENT}={os.getpid()}", sys.executable, "-m", "physopt.machine.parent"]
    for executor in config.executors:
        if hasattr(executor, "interchange_launch_cmd"):
            executor.interchange_launch_cmd = [*tied, *executor.interchange_launch_cmd]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Parsl's log in Parsl's file, and JAX from warning of forks that only start programs."""
    logger = logging.getLogger("parsl")
    before, logger.propagate = logger.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            yield
    finally:
        logger.propagate = before


@contextlib.contextmanager
def _own_programs() -> Iterator[None]:
    """Let Parsl find the programs installed beside this Python, activated or not."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before
