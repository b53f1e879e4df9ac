"""Devices and precision: where a run computes, and the record of it."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from physopt.options import OptionError
from physopt.settings import Settings

Device = Any  # a jax.Device, which is no class to a type checker


def select(device: str | None) -> Device:
    """Return the first device of a kind, or JAX's default.

    Raises OptionError where no such device is found.
    """
    if device is None:
        return jax.devices()[0]
    try:
        return jax.devices(device)[0]
    except RuntimeError:
        found = sorted({d.platform for d in jax.devices()} | {"cpu"})
        reason = f"no {device} is found by JAX here; found: {', '.join(found)}"
        raise OptionError(Settings, "device", device, reason) from None


@contextlib.contextmanager
def computing(device: Device, dtype: str) -> Iterator[None]:
    """Compute on a device in a precision; JAX's own settings return afterwards.

    In float64 the default float type of JAX is float64 inside, so that problems and networks need
    not name one. Raises OptionError for float64 on a TPU, which has none.
    """
    if dtype == "float64" and device.platform == "tpu":
        raise OptionError(Settings, "dtype", dtype, "a TPU has no float64; use float32")
    with jax.default_device(device), jax.enable_x64(dtype == "float64"):
        yield


def cast(tree: Any, dtype: str) -> Any:
    """Convert the floating leaves of a pytree to a precision."""

    def convert(leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)


def peak_bytes(device: Device) -> int | None:
    """Return the most memory used on a device so far, None where the device does not say."""
    statistics = device.memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def environment(device: Device, settings: Settings) -> dict[str, Any]:
    """Record what a run computes with; no host name."""
    libraries = ("physopt", "jax", "jaxlib", "flax", "optax", "numpy")
    commit, dirty = _git_state()
    return {
        **{name: _version(name) for name in libraries},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device_kind": device.device_kind,
        "device_count": 1,
        "driver": device.client.platform_version,
        "cpu_count": os.cpu_count(),
        "cpu_threads": os.environ.get("NPROC"),  # XLA's limit on them, where one is set
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "dtype": settings.dtype,
        "matmul_precision": jax.config.values["jax_default_matmul_precision"],
        "git_commit": commit,
        "git_dirty": dirty,
        "seed": settings.seed,
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the source, and whether files differ from it."""

    def git(*arguments: str) -> str:
        folder = Path(__file__).resolve().parent.parent
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), git("status", "--porcelain") != ""
    except (OSError, subprocess.CalledProcessError):  # an installed copy, or no git
        return None, None
