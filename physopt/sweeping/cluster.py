"""Cluster: runs made by Parsl. `executor=FILE.py` names a Python file with Parsl's configuration.

The file defines a variable `config` or a function `config()`. Parsl is an optional dependency and
is imported only here.
"""

import contextlib
import functools
import logging
import os
import runpy
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physopt.machine.parent import PARENT
from physopt.options import OptionError
from physopt.sweeping.resources import Submit

if TYPE_CHECKING:
    from parsl.config import Config


def from_file(path: Path) -> "Config":
    """Return the Parsl configuration that a Python file defines.

    Raises OptionError if it defines none, or if Parsl is not installed.
    """
    try:
        from parsl.config import Config
    except ImportError:
        reason = 'Parsl is not installed; pip install "physopt[cluster]"'
        raise OptionError(object, "executor", path, reason) from None
    try:
        config = runpy.run_path(str(path)).get("config")
        config = config() if callable(config) else config
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise OptionError(object, "executor", path, reason) from error
    if not isinstance(config, Config):
        reason = "has no `config` that is a parsl.config.Config, or a function that returns one"
        raise OptionError(object, "executor", path, reason)
    return config


@contextlib.contextmanager
def cluster_pool(path: Path, run_dir: Path) -> Iterator[Submit]:
    """Start Parsl as a file configures it, with its logs in `run_dir` if the file names no folder.

    Raises OptionError as `from_file` does.
    """
    config = from_file(path)
    from parsl import python_app
    from parsl.dataflow.dflow import DataFlowKernel

    if config.run_dir == "runinfo":  # Parsl's default, in the working directory
        config.run_dir = str(run_dir)
    _tie_interchange(config)
    with _surroundings(), DataFlowKernel(config) as kernel:
        app = functools.cache(functools.partial(python_app, data_flow_kernel=kernel))
        yield lambda function, *arguments, on_cpu: app(function)(*arguments)


def _tie_interchange(config: Any) -> None:
    """Make Parsl's interchange, and with it the workers, end with this process, however it ends."""
    tied = ["env", f"{PARENT}={os.getpid()}", sys.executable, "-m", "physopt.machine.parent"]
    for executor in config.executors:
        if hasattr(executor, "interchange_launch_cmd"):
            executor.interchange_launch_cmd = [*tied, *executor.interchange_launch_cmd]


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """Keep Parsl's log and JAX's warning about Parsl's forks out of the terminal.

    PATH begins with the folder of this Python, where Parsl's own programs are installed.
    """
    logger, path = logging.getLogger("parsl"), os.environ.get("PATH", "")
    propagate, logger.propagate = logger.propagate, False
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            yield
    finally:
        logger.propagate, os.environ["PATH"] = propagate, path
