"""Comparison: the runs to compare and how to measure their progress, prepared once."""

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias, Union

import pandas as pd

from physopt.analysis.costs import check_axis
from physopt.analysis.errors import run_errors
from physopt.analysis.fairness import check_allowances, comparable
from physopt.analysis.targets import PENALTY, hitting_times


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs and the options of their scores.

    Every score, plot and report takes a Comparison, or a frame of `load` and these options. Scores
    of one Comparison share its prepared tables.
    """

    frame: pd.DataFrame
    """Evaluations as of `load`."""

    axis: str = "seconds"
    """Cost that progress is measured against: a key of `costs.COSTS`."""

    _: KW_ONLY

    compile_time: bool = False
    """Add compilation to the seconds."""

    allow: Collection[str] = ()
    """Rules of `comparable` to waive, by name."""

    per_decade: int = 5
    """Targets per decade of error, see `shared_targets`."""

    penalty: float = PENALTY
    """A missed target counts as this many times the largest cost of any run on the case."""

    def __post_init__(self):
        """Raise OptionError for an unknown axis or allowance."""
        check_axis(self.axis)
        check_allowances(self.allow)

    @classmethod
    def of(cls, runs: "Runs", **options: Any) -> "Comparison":
        """Return runs as a Comparison, with those of the options that are not None."""
        given = {name: value for name, value in options.items() if value is not None}
        if isinstance(runs, pd.DataFrame):
            return cls(runs, **given)
        return replace(runs, **given) if given else runs

    @cached_property
    def runs(self) -> pd.DataFrame:
        """The evaluations that scores use; raises OptionError as `comparable` does."""
        return comparable(self.frame, self.allow)

    @property
    def notes(self) -> list[str]:
        """What the scores leave out or treat specially, as sentences."""
        return self.runs.attrs["notes"]

    def hits_of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the `hitting_times` of a frame along the axis of this comparison."""
        compile_time, per_decade = self.compile_time, self.per_decade
        return hitting_times(frame, self.axis, compile_time=compile_time, per_decade=per_decade)

    @cached_property
    def hits(self) -> pd.DataFrame:
        """One row per run and target, as of `hitting_times`."""
        return self.hits_of(self.runs)

    @cached_property
    def errors(self) -> pd.DataFrame:
        """One row per run with its final error, as of `run_errors`."""
        return run_errors(self.runs)


Runs: TypeAlias = Union[pd.DataFrame, Comparison]  # noqa: UP007
"""What scores take: a frame of `load`, or a Comparison."""
