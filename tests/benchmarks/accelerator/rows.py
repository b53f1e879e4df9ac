"""Rows: what is measured, in the form of the JSON file."""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

OK, FAILED, NOT_MEASURED = "ok", "failed", "not measured"

RATE, ERROR = "/s", "error"
"""Units: a rate, whose goal is a least value, and the error of a check, whose goal is a limit. The
others are times."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A measured quantity or a check, with its goal.

    value is a median over repeats, low and high are the least and the greatest of them.
    compile_seconds is the time to trace and compile the program.
    """

    name: str
    section: str
    unit: str = ""
    value: float | None = None
    goal: float | None = None
    low: float | None = None
    high: float | None = None
    repeats: int | None = None
    compile_seconds: float | None = None
    status: str = OK
    message: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal or a value."""
        if self.goal is None or self.status == NOT_MEASURED:
            return None
        if self.value is None or math.isnan(self.value):
            return False
        return self.value >= self.goal if self.unit == RATE else self.value <= self.goal

    def to_json(self) -> dict[str, Any]:
        """Return the row without empty entries; numbers have five digits, NaN is text."""
        content = {k: v for k, v in dataclasses.asdict(self).items() if v not in (None, "")}
        return {k: _rounded(v) if isinstance(v, float) else v for k, v in content.items()}

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Row":
        """Return the inverse of `to_json`, up to the digits."""
        numbers = {"value", "goal", "low", "high", "compile_seconds"} & content.keys()
        return Row(**{**content, **{name: float(content[name]) for name in numbers}})


@dataclasses.dataclass(frozen=True)
class Case:
    """A measurement that returns one or several rows; its name begins theirs."""

    name: str
    section: str
    measure: Callable[[], list[Row]]

    def matches(self, patterns: list[str]) -> bool:
        """Return whether a pattern is the section or part of the name; no pattern selects all."""
        return not patterns or any(p == self.section or p in self.name for p in patterns)

    def failed(self, error: BaseException | str) -> Row:
        """Return the row of a measurement that raised or was stopped."""
        message = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        return Row(self.name, self.section, status=FAILED, message=without_paths(message))


def without_paths(text: str) -> str:
    """Return the start of a message in one line, without folders."""
    return re.sub(r"(?<![\w.])(/[\w.+-]+)+/", "", " ".join(text.split()))[:300]


def _rounded(value: float) -> float | str:
    return float(f"{value:.5g}") if math.isfinite(value) else str(value)
