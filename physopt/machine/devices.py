"""Devices, precision and memory: selection of devices, and the memory a program may use."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from physopt.options import OptionError

Device = Any  # a jax.Device, which type checkers do not accept as a class

_PLATFORM = jax.make_user_context(None)
"""Part of JAX's cache keys: a function traced for one platform is traced again for another."""

MEMORY_SHARE = 0.7
"""Fraction of a device's memory to use if no limit is given."""


def select(device: str | None, count: int = 1) -> tuple[Device, ...]:
    """Return the first devices of a kind, or of JAX's default kind.

    Raises OptionError if there is no such device, if there are fewer than `count`, or if JAX is set
    not to compile.
    """
    for name, refused in (("jax_disable_jit", True), ("jax_numpy_dtype_promotion", "strict")):
        if (value := getattr(jax.config, name)) == refused:
            reason = "runs are compiled by jax.jit with JAX's standard promotion of types; unset it"
            raise OptionError(object, name.upper(), value, reason)
    try:
        devices = jax.local_devices(backend=device)
    except (RuntimeError, AssertionError):
        if platforms := os.environ.get("JAX_PLATFORMS"):
            reason = "JAX finds no such device here, or lacks the plugin for it"
            raise OptionError(object, "JAX_PLATFORMS", platforms, reason) from None
        kinds = sorted({d.platform for d in jax.devices()} | {"cpu"})
        reason = f"no {device} is found by JAX here; found: {', '.join(kinds)}"
        raise OptionError(object, "device", device, reason) from None
    if len(devices) < count:
        platform = devices[0].platform
        reason = f"JAX finds {len(devices)} {platform} here"
        if platform == "cpu":
            reason += f"; XLA_FLAGS=--xla_force_host_platform_device_count={count} divides the host"
        raise OptionError(object, "devices", count, reason)
    return tuple(devices[:count])


@contextlib.contextmanager
def computing(device: Device, dtype: str) -> Iterator[None]:
    """Context that computes on a device in a precision, and restores JAX's settings on exit.

    With float64 JAX's default float type is float64 inside, so that problems and networks need not
    specify one. Raises OptionError for float64 on a TPU, which does not support it.
    """
    if dtype == "float64" and device.platform == "tpu":
        raise OptionError(object, "dtype", dtype, "a TPU has no float64; use float32")
    with jax.default_device(device), jax.enable_x64(dtype == "float64"):
        yield


def cast(tree: Any, dtype: str) -> Any:
    """Convert the floating leaves of a pytree to a precision."""

    def convert(leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(convert, tree)


def peak_bytes(devices: Sequence[Device]) -> int | None:
    """Return the peak memory used on any of the devices, None if they do not report it."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
    return max((peak for peak in peaks if peak is not None), default=None)


def current_device() -> Device:
    """Return the device of `jax.default_device`, by default JAX's first."""
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    if isinstance(default, str):  # JAX also accepts the name of a platform
        return jax.local_devices(backend=default)[0]
    return default or jax.devices()[0]


def current_platform() -> str:
    """Return the platform of programs traced in this context: "cpu", "gpu" or "tpu"."""
    return _PLATFORM.value or current_device().platform


@contextlib.contextmanager
def programs_for(platform: str) -> Iterator[None]:
    """Context that traces programs for a platform which this machine need not have.

    They are lowered by `jax.jit(f).trace(...).lower(lowering_platforms=(platform,))`, where JAX
    names an NVIDIA GPU "cuda".
    """
    with _PLATFORM(platform):
        yield


def widest_float() -> str:
    """Return the widest floating type of the current platform: a TPU has no float64."""
    return "float32" if current_platform() == "tpu" else "float64"


def has_triton() -> bool:
    """Return whether programs traced in this context may contain Triton kernels: NVIDIA GPUs."""
    if _PLATFORM.value:
        return _PLATFORM.value == "gpu"
    device = current_device()
    return device.platform == "gpu" and "cuda" in device.client.platform_version.lower()


def memory_limit() -> float:
    """Return the default memory limit in bytes: 70 % of the device's memory, or of the host's."""
    limit = (current_device().memory_stats() or {}).get("bytes_limit")
    return MEMORY_SHARE * (limit or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
