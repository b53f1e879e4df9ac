"""All measurements, the most important first, in case the time does not suffice."""

from accelerator import commands, correctness, directions, isotherms, linear_algebra, updates
from accelerator.rows import Case


def all_cases(small: bool) -> list[Case]:
    """Return every case; the small version suits a CPU."""
    return [
        *correctness.reference_cases(),
        *isotherms.cases(small),
        *updates.cases(small),
        *commands.cases(small),
        *correctness.cases(small),
        *directions.cases(small),
        *linear_algebra.cases(small),
        *updates.problem_cases(),
    ]
