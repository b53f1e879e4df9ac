"""Milliseconds of a training update: the pairs with a goal, then every problem with one rule."""

from functools import partial

from accelerator.rows import Case, Row
from accelerator.timing import timed_updates
from physopt.config.registry import names

SECTION, ALL = "updates", "problems"

PAIRS: tuple[tuple[str, str, int, float | None], ...] = (
    ("ldft2d", "adam", 8, 0.6),
    ("ldft2d", "adam", 64, 1.0),
    ("ldft2d", "adam", 256, 2.5),
    ("ldft3d", "hig", 8, None),
    ("quantum", "hig", 16, 20.0),
    ("oscillators", "adam", 32, 0.3),
    ("oscillators", "hig", 32, 1.5),
    ("burgers", "adam", 16, 0.3),
    ("poisson8", "hig", 64, 30.0),
    ("poisson", "hig", 16, None),
    ("heat", "sip", 16, None),
)
"""(problem, rule, batch size, goal in milliseconds)"""

SLOW_ON_CPU = {("ldft2d", 256), ("poisson8", 64), ("poisson", 16), ("heat", 16)}
"""Pairs that the small version leaves out: seconds an update."""


def measure(problem: str, rule: str, batch: int | None, goal: float | None, name: str) -> list[Row]:
    """Return the row of a pair; without a batch size, with the problem's own."""
    words = [f"problem={problem}", f"rule={rule}"]
    timing = timed_updates(words if batch is None else [*words, f"batch_size={batch}"])
    section = ALL if batch is None else SECTION
    return [Row(name, section, "ms", goal=goal, **timing.fields())]


def cases(small: bool) -> list[Case]:
    """Return the pairs with their own batch sizes."""
    made = []
    for problem, rule, batch, goal in PAIRS:
        name = f"update {problem} {rule}, batch {batch}"
        if not (small and (problem, batch) in SLOW_ON_CPU):
            made.append(Case(name, SECTION, partial(measure, problem, rule, batch, goal, name)))
    return made


def problem_cases() -> list[Case]:
    """Return every registered problem with Adam and the problem's own batch size."""
    return [
        Case(name, ALL, partial(measure, problem, "adam", None, None, name))
        for problem in names("problem")
        for name in [f"update {problem} adam, default batch"]
    ]
