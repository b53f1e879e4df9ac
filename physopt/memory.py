"""Memory: how much of it a program may take."""

import os

import jax

MEMORY_SHARE = 0.7
"""Part of the memory of a device that is used where no limit is given."""


def memory_limit() -> float:
    """Return the bytes that may be used by default: 70 % of the device's, or the host's."""
    device = jax.config.jax_default_device or jax.devices()[0]  # type: ignore[attr-defined]
    held = (device.memory_stats() or {}).get("bytes_limit")
    return MEMORY_SHARE * (held or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
