"""Parts of a report: the runs that each may use, and the reasons of those that it leaves out.

A score refuses runs that cannot be compared fairly, and a cost refuses times that are not known. A
report is written nevertheless: the problems concerned are left out of the part, with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from physopt.analysis.comparison import Comparison
from physopt.analysis.costs import cost
from physopt.analysis.fairness import apart
from physopt.options import OptionError

AXES = {
    "seconds": "seconds",
    "compiled": "seconds with compilation",
    "updates": "updates",
    "calls": "physics calls",
}
"""Names of the axes that the page offers; "compiled" is not a key of `costs.COSTS`."""


class Part(NamedTuple):
    """The runs that a part of a report may use."""

    comparison: Comparison
    left_out: dict[str, str]
    """Problems that are left out, and why."""

    def sentences(self) -> list[str]:
        """Return the problems that are left out with their reasons, a sentence for each reason."""
        cases: dict[str, list[str]] = {}
        for case, reason in self.left_out.items():
            cases.setdefault(reason, []).append(case)
        return [f"{', '.join(names)}: {reason}" for reason, names in cases.items()]


def part(comparison: Comparison, needs: Callable[[Comparison], Any]) -> Part:
    """Return the runs of the problems for which `needs` does not raise OptionError.

    needs: computes what the part is made from. It is called with all runs, then with the runs of
    each problem, then with those that remain together.
    """
    try:
        needs(comparison)
        return Part(comparison, {})
    except OptionError as refusal:
        reason_for_all = refusal.reason
    frame, left_out = comparison.frame, {}
    for case, of_case in frame.groupby("case", sort=False):
        try:
            needs(replace(comparison, frame=of_case))
        except OptionError as refusal:
            left_out[str(case)] = refusal.reason
    rest = replace(comparison, frame=frame[~frame["case"].isin(left_out)])
    try:
        needs(rest)
    except OptionError:  # they differ between problems
        rest = replace(comparison, frame=frame.iloc[:0])
        left_out |= {str(case): reason_for_all for case in frame["case"] if case not in left_out}
    return Part(rest, left_out)


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of a report."""

    all: Comparison
    axis: str
    """The axis of the scores, a key of drawn and scored."""
    fair: Part
    """Final errors."""
    drawn: dict[str, Part]
    """Curves, for each axis that the page offers."""
    scored: dict[str, Part]
    """Times to targets, for each axis."""
    devices: Part
    """Runs on several kinds of devices."""

    @staticmethod
    def of(comparison: Comparison) -> "Parts":
        """Return the parts of a report on a comparison.

        An axis along which no problem can be drawn is left out; scores along it use seconds.
        """
        # Methods keep their names if only the problems of one kind of device remain.
        everything = replace(comparison, frame=apart(comparison.frame))
        drawn = {axis: part(_along(everything, axis), _cost) for axis in AXES}
        fair = part(everything, lambda c: c.runs)
        scored = {axis: part(_along(fair.comparison, axis), lambda c: c.hits) for axis in AXES}
        compiled = comparison.compile_time and comparison.axis == "seconds"
        wanted = "compiled" if compiled else comparison.axis
        anywhere = replace(everything, allow={*comparison.allow, "devices", "tuning"})
        return Parts(
            everything,
            wanted if len(drawn[wanted].comparison.frame) else "seconds",
            fair,
            drawn,
            scored,
            part(_along(anywhere, "seconds"), lambda c: c.runs),
        )

    def left_out(self) -> list[str]:
        """Return everything that the report leaves out, as sentences that begin with the part."""
        sentences = [f"Scores of {sentence}" for sentence in self.fair.sentences()]
        sentences += [f"Devices on {sentence}" for sentence in self.devices.sentences()]
        for axis, name in AXES.items():
            drawn, scored = self.drawn[axis].sentences(), self.scored[axis].sentences()
            sentences += [f"Curves against {name} of {sentence}" for sentence in drawn]
            sentences += [f"Times to targets in {name} of {sentence}" for sentence in scored]
        return sentences


def _cost(comparison: Comparison) -> Any:
    return cost(comparison.frame, comparison.axis, comparison.compile_time)


def _along(comparison: Comparison, axis: str) -> Comparison:
    compiled = axis == "compiled"
    return replace(comparison, axis="seconds" if compiled else axis, compile_time=compiled)
