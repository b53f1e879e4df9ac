"""Resident memory of this process, as the operating system measures it."""

import contextlib
import ctypes
import math
from collections.abc import Callable
from pathlib import Path

import psutil

_PROCESS = Path("/proc/self")
_MAP_FROM = -3  # glibc's M_MMAP_THRESHOLD


def resident_peak(function: Callable[[], object]) -> float:
    """Return the largest increase of resident memory, in bytes, while a function runs.

    NaN on systems that record no peak; Linux does.
    """
    give_back()
    try:
        (_PROCESS / "clear_refs").write_text("5")  # resets the peak to the current value
    except OSError:
        function()
        return math.nan
    before = _bytes("VmRSS")
    function()
    return _bytes("VmHWM") - before


def resident_bytes() -> float:
    """Return the current resident memory of this process in bytes."""
    return float(psutil.Process().memory_info().rss)


def give_back() -> None:
    """Make the allocator return free memory to the system, now and after each large block.

    Memory that it kept could be reused without an increase of resident memory.
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
