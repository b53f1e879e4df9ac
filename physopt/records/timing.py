"""Timing: whether the milliseconds of a run can be compared with those of others."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from physopt.records.units import seconds_text

DRIFT = 2.0
"""Ratio of the slowest and the fastest quarter of a run above which its pace has drifted."""

_SHORTEST_SECONDS = 0.1
"""Of the slowest quarter: less is within the rhythm at which a system shares its cores."""


def load_of_others(start: float | None, end: float | None) -> float | None:
    """Return the largest load due to other processes at the start and at the end of a run.

    The load at the end includes the run itself; none if neither was measured.
    """
    loads = [*([] if start is None else [start]), *([] if end is None else [end - 1.0])]
    return round(max(loads), 2) if loads else None


def paces(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """Return the seconds per update in the fastest and in the slowest quarter of a curve.

    None if there are no two quarters, or if they are too short to be measured.
    """
    times = [(row["step"], row["t_train"]) for row in rows if _timed(row)]
    if len(times) < 3:
        return None
    quarter = (times[-1][0] - times[0][0]) / 4
    bounds = times[:1]
    for step, seconds in times[1:]:
        if step - bounds[-1][0] >= quarter:
            bounds.append((step, seconds))
    parts = [(late[1] - early[1], late[0] - early[0]) for early, late in pairwise(bounds)]
    if len(parts) < 2 or max(seconds for seconds, _ in parts) < _SHORTEST_SECONDS:
        return None
    values = [seconds / updates for seconds, updates in parts]
    return min(values), max(values)


def timing_remark(
    rows: Sequence[Mapping[str, Any]], load: float | None = None, cores: int | None = None
) -> str:
    """Return why the timings of a run are unreliable; "" if nothing is known against them.

    load: that of other processes, None if it does not matter.
    """
    reasons = []
    if load is not None and cores is not None and load > cores:
        reasons.append(f"load {load:.3g} on {cores} cores")
    fastest, slowest = paces(rows) or (1.0, 1.0)
    if slowest > DRIFT * fastest:
        per_update = f"{seconds_text(fastest)} to {seconds_text(slowest)} per update"
        reasons.append(f"{per_update} within the run")
    return ", ".join(reasons)


def _timed(row: Mapping[str, Any]) -> bool:
    return all(isinstance(row.get(name), int | float) for name in ("step", "t_train"))
