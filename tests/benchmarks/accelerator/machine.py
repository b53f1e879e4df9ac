"""The machine that measures: device, versions, commit and load, without names and folders."""

import datetime
import os
import platform
import shutil
import subprocess
from importlib import metadata
from typing import Any

from physopt.machine.threads import load_average
from physopt.records.environment import _git_state


def machine(device: Any, scale: str) -> dict[str, Any]:
    """Return the description of a device, of the code and of the process."""
    commit, dirty = _git_state()
    content = {
        "device_kind": device.device_kind,
        "platform": device.platform,
        "scale": scale,
        "jax": metadata.version("jax"),
        "python": platform.python_version(),
        "driver": nvidia_driver(),
        "cpu_count": os.cpu_count(),
        "load": load_average(),
        "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE"),
        "xla_flags": os.environ.get("XLA_FLAGS"),
        "commit": commit and commit[:7] + (" with changes" if dirty else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    return {name: value for name, value in content.items() if value is not None}


def nvidia_driver() -> str | None:
    """Return the version of NVIDIA's driver, None without one."""
    if not (command := shutil.which("nvidia-smi")):
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.split("\n")[0].strip() or None
