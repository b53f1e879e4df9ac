"""Resident memory of this process, as measured by the operating system."""

import contextlib
import ctypes
import math
from collections.abc import Callable
from pathlib import Path

import psutil

_PROCESS = Path("/proc/self")
_MMAP_THRESHOLD = -3  # glibc's M_MMAP_THRESHOLD


def resident_peak(function: Callable[[], object]) -> float:
    """Call a function; return the largest increase of resident memory meanwhile, in bytes.

    NaN on systems that record no peak; Linux records it.
    """
    release_free_memory()
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


def release_free_memory() -> None:
    """Return the allocator's free memory to the system, now and whenever a large block is freed.

    A program that reused it would not increase the resident memory.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_MMAP_THRESHOLD, 2**16)
        library.malloc_trim(0)


def _bytes(name: str) -> float:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024.0 * int(line.split()[1])
    return math.nan
