"""Devices, precision and memory: where a program runs, and how much memory it may use."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from physopt.options import OptionError

Device = Any  # a jax.Device, which is no class to a type checker


MEMORY_SHARE = 0.7
"""Part of the memory of a device that is used where no limit is given."""


def select(device: str | None, count: int = 1) -> tuple[Device, ...]:
    """Return the first devices of a kind, or of JAX's default kind.

    Raises OptionError where there is no such device, or not so many.
    """
    try:
        found = jax.local_devices(backend=device)
    except RuntimeError:
        kinds = sorted({d.platform for d in jax.devices()} | {"cpu"})
        reason = f"no {device} is found by JAX here; found: {', '.join(kinds)}"
        raise OptionError(object, "device", device, reason) from None
    if len(found) < count:
        platform = found[0].platform
        reason = f"JAX finds {len(found)} {platform} here"
        if platform == "cpu":
            reason += f"; XLA_FLAGS=--xla_force_host_platform_device_count={count} divides the host"
        raise OptionError(object, "devices", count, reason)
    return tuple(found[:count])


@contextlib.contextmanager
def computing(device: Device, dtype: str) -> Iterator[None]:
    """Compute on a device in a precision; JAX's own settings return afterwards.

    In float64 the default float type of JAX is float64 inside, so that problems and networks need
    not name one. Raises OptionError for float64 on a TPU, which has none.
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
    """Return the most memory used on any of the devices so far, None where they do not say."""
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
    return max((peak for peak in peaks if peak is not None), default=None)


def current_device() -> Device:
    """Return the device of `jax.default_device`, or else JAX's first."""
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    if isinstance(chosen, str):  # JAX takes the name of a platform as well
        return jax.local_devices(backend=chosen)[0]
    return chosen or jax.devices()[0]


def current_platform() -> str:
    """Return "cpu", "gpu" or "tpu": what programs that are traced now will run on."""
    return current_device().platform


def memory_limit() -> float:
    """Return the bytes that may be used by default: 70 % of the device's, or the host's."""
    held = (current_device().memory_stats() or {}).get("bytes_limit")
    return MEMORY_SHARE * (held or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
