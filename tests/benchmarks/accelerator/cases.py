"""All measurements, those whose loss would hurt most first."""

from accelerator import commands, correctness, directions, isotherms, linear_algebra, updates
from accelerator.rows import Case


def all_cases(small: bool) -> list[Case]:
    """Return every case; the small version suits a CPU."""
    return [
        *isotherms.cases(small),
        *updates.cases(small),
        *correctness.cases(small),
        *directions.cases(small),
        *commands.cases(small),
        *linear_algebra.cases(small),
        *updates.problem_cases(),
    ]
