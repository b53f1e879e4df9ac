"""Costs: the axes of progress: training seconds, updates, or physics calls."""

from typing import NamedTuple

import pandas as pd

from physopt.options import OptionError, suggest


class Cost(NamedTuple):
    """Names of a cost: as an axis label, in a sentence, and as a unit."""

    label: str
    words: str
    unit: str


COSTS = {
    "seconds": Cost("training time (s)", "training time", "s"),
    "updates": Cost("updates", "updates", "updates"),
    "calls": Cost("physics calls (samples)", "physics calls", "calls"),
}
"""A physics call is one sample simulated, pulled back through the physics, or solved inversely."""


def check_axis(axis: str) -> None:
    """Raise OptionError for an unknown axis."""
    if axis not in COSTS:
        raise OptionError(object, "axis", axis, suggest(axis, COSTS))


def cost(frame: pd.DataFrame, axis: str, compile_time: bool = False) -> pd.Series:
    """Return the cost of each run up to each of its evaluations.

    With `compile_time`, seconds include compilation. A compilation shortened by a cache counts as
    the longest cold one of the same problem, rule and device.

    Raises OptionError for an unknown axis, and with `compile_time` if every measured compilation of
    a method came from a cache.
    """
    check_axis(axis)
    if axis == "updates":
        return frame["step"]
    if axis == "calls":
        return frame[["n_simulate", "n_vjp", "n_invert"]].sum(axis=1, min_count=1)
    return frame["t_train"] + cold_compilation(frame) if compile_time else frame["t_train"]


def cost_label(axis: str, compile_time: bool = False) -> str:
    """Return the label of an axis, including whether compilation is counted."""
    if axis != "seconds":
        return COSTS[axis].label
    return f"training time (s), compilation {'included' if compile_time else 'not included'}"


def cold_compilation(frame: pd.DataFrame) -> pd.Series:
    """Return the seconds that each run had compiled for at each evaluation, as `cost` counts them.

    Raises OptionError as `cost` does.
    """
    if "compile_cached" not in frame:
        return frame["t_compile"]
    cached = frame.groupby("folder")["compile_cached"].transform("max").fillna(0) > 0
    keys = ["case", "method", "device"]
    cold = frame["t_compile"].mask(cached).groupby([frame[key] for key in keys]).transform("max")
    unknown = cached & cold.isna() & (frame["t_compile"] > 0)
    if unknown.any():
        method = frame.loc[unknown, "method"].iloc[0]
        reason = f"every compilation of {method} came from a cache: there is no cold one to count"
        raise OptionError(object, "compile", "true", reason)
    # The first row is written before any compilation.
    return frame["t_compile"].where(~cached | (frame["t_compile"] == 0), cold)
