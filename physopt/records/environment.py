"""Environment: the versions, the device and the precision that a run computed with."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import jax


def environment(device: Any, *, device_count: int, dtype: str, seed: int) -> dict[str, Any]:
    """Record what a run computes with; no host name."""
    libraries = ("physopt", "jax", "jaxlib", "flax", "optax", "numpy")
    commit, dirty = _git_state()
    return {
        **{name: _version(name) for name in libraries},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device_kind": device.device_kind,
        "device_count": device_count,
        "driver": device.client.platform_version,
        "cpu_count": os.cpu_count(),
        "cpu_threads": os.environ.get("NPROC"),  # XLA's limit on them, where one is set
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "dtype": dtype,
        "matmul_precision": jax.config.values["jax_default_matmul_precision"],
        "git_commit": commit,
        "git_dirty": dirty,
        "seed": seed,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the source, and whether files differ from it."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).resolve().parent.parent.parent
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), git("status", "--porcelain") != ""
    except (OSError, subprocess.CalledProcessError):  # an installed copy, or no git
        return None, None
