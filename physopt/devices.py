"""Devices and precision: where a run computes, and the record of it."""

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from physopt.backend import Device
from physopt.options import OptionError
from physopt.settings import Settings


def select(device: str | None, count: int = 1) -> tuple[Device, ...]:
    """Return the first devices of a kind, or of JAX's default kind.

    Raises OptionError where there is no such device, or not so many.
    """
    try:
        found = jax.local_devices(backend=device)
    except RuntimeError:
        kinds = sorted({d.platform for d in jax.devices()} | {"cpu"})
        reason = f"no {device} is found by JAX here; found: {', '.join(kinds)}"
        raise OptionError(Settings, "device", device, reason) from None
    if len(found) < count:
        platform = found[0].platform
        reason = f"JAX finds {len(found)} {platform} here"
        if platform == "cpu":
            reason += f"; XLA_FLAGS=--xla_force_host_platform_device_count={count} divides the host"
        raise OptionError(Settings, "devices", count, reason)
    return tuple(found[:count])


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


def peak_bytes(devices: Sequence[Device]) -> int | None:
    """Return the most memory used on any of the devices so far, None where they do not say."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
    return max((peak for peak in peaks if peak is not None), default=None)


def environment(device: Device, settings: Settings) -> dict[str, Any]:
    """Record what a run computes with; no host name."""
    libraries = ("physopt", "jax", "jaxlib", "flax", "optax", "numpy")
    commit, dirty = _git_state()
    return {
        **{name: _version(name) for name in libraries},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device_kind": device.device_kind,
        "device_count": settings.devices,
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
