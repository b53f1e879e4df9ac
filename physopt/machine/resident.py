"""Resident memory of this process while something runs, as the operating system sees it."""

import contextlib
import ctypes
import math
from collections.abc import Callable
from pathlib import Path

import psutil

_PROCESS = Path("/proc/self")
_MAP_FROM = -3  # glibc's M_MMAP_THRESHOLD


def resident_peak(function: Callable[[], object]) -> float:
    """Return the bytes by which resident memory rose at most while a function ran.

    NaN where the system keeps no such mark; Linux does.
    """
    give_back()
    try:
        (_PROCESS / "clear_refs").write_text("5")  # sets the mark to what is resident now
    except OSError:
        function()
        return math.nan
    before = _bytes("VmRSS")
    function()
    return _bytes("VmHWM") - before


def resident_bytes() -> float:
    """Return the memory of this process that is resident now."""
    return float(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Let the allocator return to the system what is free.

    Memory that it keeps would be used again without a rise: from now on large blocks are mapped,
    and returned, one by one.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MAP_FROM, 2**16)
        library.malloc_trim(0)


def _bytes(name: str) -> float:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024.0 * int(line.split()[1])
    return math.nan
