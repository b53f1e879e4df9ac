"""Numbers to be compared with runs: quantities, experiments, and how a curve gives a number."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

PAPERS = Path(__file__).resolve().parent.parent / "papers"

HIG, SIP = "arXiv 2203.10131", "arXiv 2109.15048"
CONTROL, LOOP = "arXiv 2001.07457", "arXiv 2007.00016"
TRAP = "doi 10.1103/PhysRevLett.98.108301"
"""Sources."""

Curves = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Quantity:
    """A number measured from one seed's curves, and the interval in which its median should lie.

    `published` is the source's number, and `where` its place in the source; both are empty for a
    quantity that the source does not print. `expected` is the interval in words: around the
    published number, or else around one of another program, the authors' or an independent one.
    """

    name: str
    expected: str
    low: float
    high: float
    measure: Callable[[Curves], float]
    published: str = ""
    where: str = ""


@dataclass(frozen=True)
class Experiment:
    """Runs to be compared, {name: words after `run`}, and the quantities that they give.

    A run may start from an earlier one of the same experiment: `start={NAME}`. Beside the curves of
    the runs, `measure` gets the table of `BASELINES`, if their problem has any.
    """

    name: str
    source: str
    runs: dict[str, list[str]]
    quantities: list[Quantity]
    budget: str
    slow: bool = False
    """Whether the runs take hours: they are made only if `only` names the experiment."""

    timed: tuple[str, ...] = ()
    """Runs whose network is timed: their curves have the column `INFERENCE`."""

    note: str = ""


BASELINES = "baselines"
"""Key of the table with a row for each baseline and a column for each metric."""

INFERENCE = "t_inference"
"""Seconds that the trained network takes for a sample, in a batch of 100."""


def about(value: float, percent: float) -> tuple[str, float, float]:
    """Return text, low and high of value +- percent."""
    return f"{value:g} ± {percent:g} %", value * (1 - percent / 100), value * (1 + percent / 100)


def below(value: float) -> tuple[str, float, float]:
    """Return text, low and high of an upper bound."""
    return f"below {value:g}", -np.inf, value


def above(value: float) -> tuple[str, float, float]:
    """Return text, low and high of a lower bound."""
    return f"at least {value:g}", value, np.inf


def any_value() -> tuple[str, float, float]:
    """Return text, low and high of a number that is only reported."""
    return "–", -np.inf, np.inf


def at(run: str, metric: str, step: int) -> Callable[[Curves], float]:
    """Return a function that reads a metric of a run after a number of updates."""
    return lambda curves: float(curves[run].set_index("step")[metric][step])


def final(run: str, metric: str) -> Callable[[Curves], float]:
    """Return a function that reads the last value of a metric of a run."""
    return lambda curves: last(curves[run], metric)


def last(curve: pd.DataFrame, metric: str) -> float:
    """Return the last value of a metric; NaN for a run that diverged."""
    return float(curve[metric].iloc[-1])


def ratio(
    above: str, below: str, metric: str, step: int | None = None
) -> Callable[[Curves], float]:
    """Return a function that divides a metric of one run by that of another.

    Both are read at a step, or at the end if it is None.
    """
    if step is None:
        return lambda curves: last(curves[above], metric) / last(curves[below], metric)
    return lambda curves: at(above, metric, step)(curves) / at(below, metric, step)(curves)


def baseline(method: str, metric: str) -> Callable[[Curves], float]:
    """Return a function that reads a metric of a method without training."""
    return lambda curves: float(curves[BASELINES][metric][method])


def shared(run: str, reached: str, other: str) -> Callable[[Curves], float]:
    """Return a function that measures how much later one of two metrics falls than another.

    This is the part that is left of `other`'s first value when `reached` is a tenth of its own
    first value or, if that never happens, lowest.
    """

    def measure(curves: Curves) -> float:
        curve = curves[run]
        parts = curve[reached] / curve[reached].iloc[0]
        row = int(np.argmax(parts < 0.1)) if (parts < 0.1).any() else int(np.argmin(parts))
        return float(curve[other].iloc[row] / curve[other].iloc[0])

    return measure


def seconds_to_pass(run: str, other: str, metric: str) -> Callable[[Curves], float]:
    """Return a function that reads after how many seconds a run is below another's last value.

    It is infinite for a run that stays above.
    """

    def measure(curves: Curves) -> float:
        curve = curves[run]
        below = curve[curve[metric] < last(curves[other], metric)]
        return float(below["t_train"].iloc[0]) if len(below) else np.inf

    return measure


def seconds_an_update(run: str) -> Callable[[Curves], float]:
    """Return a function that reads the mean time of an update."""
    return lambda curves: last(curves[run], "t_train") / last(curves[run], "step")


def paper(name: str, *more: str) -> list[str]:
    """Return the words of a run of runs/papers/ with changes."""
    return [str(PAPERS / f"{name}.toml"), *more]
