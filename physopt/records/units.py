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
    return f"{scaled_text(value / size)} {unit}"


def scaled_text(number: float) -> str:
    """Format a number of some unit with three digits, and no power of ten from 1,000 on."""
    return f"{number:,.0f}" if number >= 999.5 else f"{number:.3g}"


def memory_unit(values: Iterable[float]) -> tuple[str, int]:
    """Return one unit for several amounts of memory, B to GiB, and its bytes.

    It is the largest unit in which their geometric mean is at least 1.
    """
    logs = [math.log2(value) for value in values if 0 < value < math.inf]
    mean = sum(logs) / len(logs) if logs else 0.0
    power = min(max(int(mean // 10), 0), len(_MEMORY) - 1)
    return _MEMORY[power], 1024**power
