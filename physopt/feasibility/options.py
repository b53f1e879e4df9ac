"""Options of a map: its cells and limits.

The command line's help reads this file: it imports nothing heavy.
"""

import math
import re
from dataclasses import dataclass

from physopt.options import NonNegativeInt, OptionError, Options, PositiveFloat, PositiveInt

_UNITS = {"": 2**30, "B": 1} | {
    f"{letter}{'i' if base == 1024 else ''}B": base**power
    for base in (1000, 1024)
    for power, letter in enumerate("KMGT", start=1)
}


@dataclass(frozen=True)
class FeasibilityOptions(Options):
    """The cells of a map of feasible sizes and batches, and their limits."""

    sizes: tuple[PositiveInt, ...] = ()
    """Sizes of the problem; default: 1, 2 and 3 times the problem's own."""

    batches: tuple[PositiveInt, ...] = (1, 8, 64)
    """Samples per update."""

    modes: tuple[str, ...] = ()
    """Gradient modes; default: all that the problem has."""

    size_option: str = "size"
    """Option that sets the size: one of the problem's, or rule.OPTION, or a setting of `run`."""

    mode_option: str = "gradient"
    """Option that sets the mode, likewise; a problem without it has the single mode "-"."""

    memory_limit: str = "none"
    """Memory limit of a training program: 16GiB, 500MB, 2e9B; a number without unit is in GiB. none
    is 70 % of the device's memory, or of the machine's on a CPU."""

    confirm: NonNegativeInt = 4
    """Cells to run, the nearest to the limit on either side, each in a process of its own."""

    timeout: PositiveFloat = 300.0
    """Limit in wall-clock seconds for compiling or running one cell."""

    debug: bool = False
    """Show the traceback of an error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limit_bytes()
        for name in ("sizes", "batches", "modes"):
            values = getattr(self, name)
            object.__setattr__(self, name, tuple(dict.fromkeys(values)))
        if not self.batches:
            raise OptionError(type(self), "batches", "[]", "name at least one batch size")

    def limit_bytes(self) -> float | None:
        """Return the memory limit in bytes, None for the device's own."""
        if self.memory_limit == "none":
            return None
        pattern = r"((?:\d+\.?\d*|\.\d+)(?:e\d+)?)\s*([kKMGT]?i?B?)"
        amount = re.fullmatch(pattern, self.memory_limit.strip())
        unit = amount and _UNITS.get(amount[2].replace("k", "K"))
        value = float(amount[1]) * unit if amount and unit else 0.0
        if not 0 < value < math.inf:
            reason = "expected an amount of memory, such as 16GiB, 500MB or 2e9B"
            raise OptionError(type(self), "memory_limit", self.memory_limit, reason)
        return value
