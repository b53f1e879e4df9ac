"""The machine that measures: device, versions, commit and load, without names and folders."""

import datetime
import os
import shutil
import subprocess
from typing import Any

from physopt.machine.threads import load_average
from physopt.records.environment import environment


def machine(device: Any, scale: str) -> dict[str, Any]:
    """Return the description of a device, of the code and of the process."""
    recorded = environment(
        device, device_count=1, dtype="float32", seed=0, blas_threads=1, source="", sources={}
    )
    commit = recorded["git_commit"]
    content = {
        "device_kind": device.device_kind,
        "platform": device.platform,
        "scale": scale,
        **{name: recorded[name] for name in ("jax", "jaxlib", "python", "cpu_count", "xla_flags")},
        "driver": nvidia_driver(),
        "load": load_average(),
        "preallocate": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE"),
        "commit": commit and commit[:7] + (" with changes" if recorded["git_dirty"] else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    return {name: value for name, value in content.items() if value not in (None, "")}


def nvidia_driver() -> str | None:
    """Return the version of NVIDIA's driver, None without one."""
    if not (command := shutil.which("nvidia-smi")):
        return None
    query = [command, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.split("\n")[0].strip() or None
