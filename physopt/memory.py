"""Memory: how much of it a program may take."""

import os

from physopt.backend import current_device

MEMORY_SHARE = 0.7
"""Part of the memory of a device that is used where no limit is given."""


def memory_limit() -> float:
    """Return the bytes that may be used by default: 70 % of the device's, or the host's."""
    held = (current_device().memory_stats() or {}).get("bytes_limit")
    return MEMORY_SHARE * (held or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
