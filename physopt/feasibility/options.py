"""Options of a map: which cells a map has, and how they are found.

Nothing heavy is imported here, because the command line's help reads this file.
"""

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
    """The cells of a map of feasible sizes and batches, and how they are found."""

    sizes: tuple[PositiveInt, ...] = ()
    """Sizes of the problem; none given: 1, 2 and 3 times its default."""

    batches: tuple[PositiveInt, ...] = (1, 8, 64)
    """Samples per update."""

    modes: tuple[str, ...] = ()
    """Ways to the gradient; none given: all that the problem has."""

    size_option: str = "size"
    """Option that sets the size: one of the problem's, or rule.OPTION, or a setting of `run`."""

    mode_option: str = "gradient"
    """Option that sets the mode, likewise; a problem without it has the one mode "-"."""

    memory_limit: str = "none"
    """Memory that a training program may take: 16GiB, 500MB, 2e9B; a bare number is in GiB. none
    takes 70 % of the device's, or of the machine's on a CPU."""

    confirm: NonNegativeInt = 4
    """Cells to run, those nearest to the limit on either side, each in a process of its own."""

    timeout: PositiveFloat = 300.0
    """Wall-clock seconds for one cell, to compile or to run."""

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
        """Return the memory limit in bytes, None where the device's is to be taken."""
        if self.memory_limit == "none":
            return None
        found = re.fullmatch(r"([\d.]+(?:e\d+)?)\s*([kKMGT]?i?B?)", self.memory_limit.strip())
        unit = None if found is None else _UNITS.get(found[2].replace("k", "K"))
        try:
            value = 0.0 if found is None or unit is None else float(found[1]) * unit
        except ValueError:
            value = 0.0
        if not 0 < value < float("inf"):
            reason = "expected an amount of memory, such as 16GiB, 500MB or 2e9B"
            raise OptionError(type(self), "memory_limit", self.memory_limit, reason)
        return value
