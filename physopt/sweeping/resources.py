"""Resources of a machine and how the runs of a sweep share them: devices, cores, threads."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from physopt.config.settings import Settings
from physopt.options import OptionError
from physopt.sweeping.lease import Watch
from physopt.sweeping.options import SweepOptions

Submit = Callable[..., Future[Any]]
"""submit(function, *arguments, on_cpu=BOOL) of a pool."""

_CORES_PER_RUN = 4
_POLL_SECONDS = 0.1
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")

THREAD_LIMITS = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Environment variables that limit CPU threads: XLA reads NPROC, NumPy and SciPy the others."""


class Machine(NamedTuple):
    """The devices that JAX has on a machine: default platform, device kinds of each platform."""

    default: str
    kinds: Mapping[str, list[str]]

    def kind(self, device: str | None, count: int = 1) -> str:
        """Return the device kind that a run's setting `device` selects.

        Raises OptionError if there is no such device, or fewer than the `count` that the run
        spreads over. The number of CPU devices is configurable and checked by the run itself.
        """
        platform = device or self.default
        kinds = self.kinds.get(platform)
        if not kinds:
            available = ", ".join(sorted(name for name, kinds in self.kinds.items() if kinds))
            reason = f"no {platform} is found by JAX here; found: {available}"
            raise OptionError(Settings, "device", platform, reason)
        if platform != "cpu" and count > len(kinds):
            reason = f"JAX finds {len(kinds)} here ({kinds[0]})"
            raise OptionError(Settings, "devices", count, reason)
        return kinds[0]

    def accelerators(self) -> tuple[str, ...]:
        """Return the names under which each accelerator can be made visible to a run."""
        count = max((len(k) for name, k in self.kinds.items() if name != "cpu"), default=0)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = tuple(name.strip() for name in visible.split(",") if name.strip())
        return names[:count] or tuple(map(str, range(count)))


CPU_ONLY = Machine("cpu", {"cpu": ["cpu"]})

_PROBE = """
import json, jax
kinds = {}
for platform in ("cpu", "gpu", "tpu"):
    try:
        kinds[platform] = [device.device_kind for device in jax.devices(platform)]
    except RuntimeError:
        kinds[platform] = []
print(json.dumps([jax.default_backend(), kinds]))
"""


def probe() -> Machine:
    """Return the devices that JAX has on this machine.

    JAX runs in a subprocess, so that this process takes no memory of an accelerator. Raises
    OSError if JAX fails.
    """
    answer = subprocess.run(
        [sys.executable, "-c", _PROBE],
        env={**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    if answer.returncode != 0:
        raise OSError(f"JAX finds no devices: {answer.stderr.strip()[-500:]}")
    return Machine(*json.loads(answer.stdout.splitlines()[-1]))


def local_options(options: SweepOptions, machine: Machine) -> SweepOptions:
    """Complete the options for this machine: one concurrent run per accelerator or four cores."""
    default = len(machine.accelerators()) or max(1, cores() // _CORES_PER_RUN)
    return options.replace(workers=options.workers or default)


def thread_limits(options: SweepOptions) -> dict[str, str]:
    """Return the environment of a run that limits its threads.

    Without the option, local runs together use each core once, and a cluster decides.
    """
    threads = options.threads
    if threads is None and options.workers and not options.executor:
        threads = max(1, cores() // options.workers)
    return {} if threads is None else dict.fromkeys(THREAD_LIMITS, str(threads))


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1


@contextlib.contextmanager
def local_pool(workers: int, accelerators: int) -> Iterator[Submit]:
    """Threads of this process, each of which supervises one run at a time.

    Runs on accelerators have their own threads, at most one per accelerator.
    """
    with (
        ThreadPoolExecutor(workers) as on_cpu_pool,
        ThreadPoolExecutor(max(1, min(workers, accelerators))) as on_accelerator,
    ):

        def submit(function: Callable[..., Any], *arguments: Any, on_cpu: bool) -> "Future[Any]":
            return (on_cpu_pool if on_cpu else on_accelerator).submit(function, *arguments)

        yield submit


@contextlib.contextmanager
def accelerators(names: Sequence[str], count: int, watch: Watch) -> Iterator[dict[str, str]]:
    """Hold `count` of the named accelerators; yield the environment that makes them visible.

    A lock file for each keeps two sweeps of one user from sharing an accelerator. A run holds all
    that it needs or none, so that two runs cannot deadlock. Without names nothing is assigned, and
    neither once the sweep no longer wants the run.
    """
    place = Path(tempfile.gettempdir())
    locks = {
        name: filelock.FileLock(place / f"physopt-{os.getuid()}-accelerator-{name}.lock")
        for name in names
    }
    while locks and watch.valid():
        with contextlib.ExitStack() as held:
            taken = []
            for name, lock in locks.items():
                if len(taken) == count:
                    break
                with contextlib.suppress(filelock.Timeout):
                    held.enter_context(lock.acquire(blocking=False))
                    taken.append(name)
            if len(taken) == count:
                yield dict.fromkeys(_VISIBLE, ",".join(taken))
                return
        time.sleep(_POLL_SECONDS)
    yield {}
