"""Units: times and amounts of memory written for people."""

import math
from collections.abc import Iterable

_MEMORY = ("B", "KiB", "MiB", "GiB")


def seconds_text(seconds: float) -> str:
    """Format a time: 12 us, 3.4 ms, 5.6 s, 7 min 08 s, 9 h 10 min."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def bytes_text(value: float) -> str:
    """Format an amount of memory in B, KiB, MiB or GiB."""
    unit, size = memory_unit([value])
    return f"{value / size:.3g} {unit}" if size > 1 else f"{value:.0f} B"


def memory_unit(values: Iterable[float]) -> tuple[str, int]:
    """Return one unit for several amounts of memory, B to GiB, and its bytes.

    It is the largest unit in which their geometric mean is at least 1.
    """
    logs = [math.log2(value) for value in values if 0 < value < math.inf]
    mean = sum(logs) / len(logs) if logs else 0.0
    power = min(max(int(mean // 10), 0), len(_MEMORY) - 1)
    return _MEMORY[power], 1024**power
