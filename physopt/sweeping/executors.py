"""Executors: where the runs of a sweep are made, as configurations of Parsl.

Without more, each run is a process of this machine. `executor=FILE.py` names a Python file that
makes Parsl's own configuration, for a cluster say: a variable `config` or a function `config()`.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from physopt.config.settings import Settings
from physopt.options import OptionError

if TYPE_CHECKING:
    from parsl.config import Config

CPU, ACCELERATOR = "cpu", "accelerator"
"""Labels of the local executors."""

_CORES_PER_RUN = 4


class Machine(NamedTuple):
    """What JAX finds on a machine: its default platform, and the device kinds of each platform."""

    default: str
    kinds: Mapping[str, list[str]]

    def kind(self, device: str | None) -> str:
        """Return the kind of device that a run's `device` stands for.

        Raises OptionError where there is no such device.
        """
        platform = device or self.default
        if not self.kinds.get(platform):
            found = ", ".join(sorted(name for name, kinds in self.kinds.items() if kinds))
            reason = f"no {platform} is found by JAX here; found: {found}"
            raise OptionError(Settings, "device", platform, reason)
        return self.kinds[platform][0]

    def check(self, device: str | None, count: int) -> None:
        """Raise OptionError where there are not as many devices of a kind as a run spreads over.

        How many the host is divided into is for the run's own process to say.
        """
        kind, found = self.kind(device), len(self.kinds[device or self.default])
        if (device or self.default) != "cpu" and count > found:
            raise OptionError(Settings, "devices", count, f"JAX finds {found} here ({kind})")

    def accelerators(self) -> tuple[str, ...]:
        """Return the names by which runs can be given one accelerator each."""
        count = max((len(k) for name, k in self.kinds.items() if name != "cpu"), default=0)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        chosen = tuple(name.strip() for name in visible.split(",") if name.strip())
        return chosen[:count] or tuple(map(str, range(count)))


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
    """Ask JAX what it finds on this machine, in a process of its own that leaves no trace.

    This process takes no accelerator's memory that way. Raises OSError where JAX does not answer.
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


def default_workers(machine: Machine) -> int:
    """Return how many runs go on at once: one for each accelerator, or for every four cores."""
    return len(machine.accelerators()) or max(1, cores() // _CORES_PER_RUN)


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads(workers: int) -> int:
    """Return the CPU threads of each run, so that all together use the cores once."""
    return max(1, math.floor(cores() / workers))


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment that holds a run to a number of CPU threads.

    NPROC is read by XLA, the others by the libraries behind NumPy and SciPy.
    """
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


def local(workers: int, accelerators: int, run_dir: Path) -> "Config":
    """Return Parsl's configuration for this machine.

    A thread of this process watches over each run's process. Runs on accelerators have threads of
    their own, never more than there are accelerators.
    """
    from parsl.config import Config
    from parsl.executors import ThreadPoolExecutor

    executors = [ThreadPoolExecutor(label=CPU, max_threads=workers)]
    if accelerators:
        most = min(workers, accelerators)
        executors.append(ThreadPoolExecutor(label=ACCELERATOR, max_threads=most))
    return Config(
        executors=executors, run_dir=str(run_dir), strategy="none", initialize_logging=False
    )


def from_file(path: Path) -> "Config":
    """Return the configuration that a Python file makes.

    Raises OptionError where it makes none.
    """
    from parsl.config import Config

    scope: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)
        config = scope.get("config")
        config = config() if callable(config) else config
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise OptionError(object, "executor", path, reason) from error
    if not isinstance(config, Config):
        reason = "has no `config` that is a parsl.config.Config, or a function that returns one"
        raise OptionError(object, "executor", path, reason)
    return config
