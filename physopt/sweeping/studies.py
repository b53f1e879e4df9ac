"""Studies: the trials from which the options of a rule are selected, with equal effort.

Each rule gets the same number of trials and the same budget on each problem: first its options as
they are, so that few trials do not make it worse by chance, then points of a scrambled Sobol
sequence over the ranges that it declares (I. M. Sobol, 1967, doi 10.1016/0041-5553(67)90144-9;
A. B. Owen, 1998, doi 10.1006/jcom.1998.0487). Tuning has seeds of its own and uses the validation
set; the test set is not read.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import qmc

from physopt.config import RunConfig
from physopt.config.parse import option_hints
from physopt.config.registry import name_of
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.sweeping.plan import Request, Words, config_of, expand

FIRST_SEED = 1_000_000
"""Offset that keeps tuning seeds apart from reporting seeds."""

_DECADE = 10.0
_EDGE = 0.1


@dataclasses.dataclass(frozen=True)
class Study:
    """The tuning of one rule on one problem."""

    config: RunConfig
    """What all trials have in common."""
    seeds: tuple[int, ...]
    given: frozenset[str]
    """The options of the rule that the user gave, which are not tuned."""
    ranges: Mapping[str, tuple[float, float]]
    """{option: (low, high)} of the others."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of problem and rule."""
        problem, rule = type(self.config.problem), type(self.config.rule)
        return name_of("problem", problem), name_of("rule", rule)

    @property
    def out(self) -> Path:
        """The folder of the trials."""
        return self.config.settings.out

    @property
    def fixed(self) -> dict[str, Any]:
        """The options of the rule that the user gave, with their values."""
        return {k: v for k, v in self.config.rule.as_dict().items() if k in self.given}

    @property
    def units(self) -> dict[str, str]:
        """{option: column of the curve by whose first value its range is divided}."""
        declared = type(self.config.rule).tunable_per
        return {option: column for option, column in declared.items() if option in self.ranges}

    def pilot(self, out: Path | None = None) -> RunConfig:
        """Return a run of one update, which measures the units on this problem.

        It is recorded beside the trials, or in the folder `out`.
        """
        settings = self.config.settings.replace(
            steps=1, seconds=None, log_every=1, out=out or self.out, seed=self.seeds[0]
        )
        return dataclasses.replace(self.config, settings=settings)

    def in_units(self, folder: RunFolder) -> "Study":
        """Return the study with its ranges in this problem's units, as its pilot measured them.

        Raises OptionError if the pilot made no update.
        """
        rows = folder.curve()
        ranges = dict(self.ranges)
        for option, column in self.units.items():
            value = rows[-1].get(column) if len(rows) > 1 else None
            if not value:
                reason = f"no {column} to scale its range by: {folder.status().get('reason')}"
                raise OptionError(object, f"rule.{option}", self.names[1], reason)
            low, high = self.ranges[option]
            ranges[option] = (low / value, high / value)
        return dataclasses.replace(self, ranges=ranges)

    def trials(self, count: int) -> list[dict[str, float]]:
        """Return the options of each trial: the rule's own, then points of the ranges.

        One trial without options if none can be tuned.
        """
        if not self.ranges:
            return [{}]
        options = self.config.rule.as_dict()
        own = {option: options[option] for option in self.ranges}
        # The same points for all rules and problems, so that each is searched equally densely.
        exponent = math.ceil(math.log2(max(1, count - 1)))
        points = qmc.Sobol(len(self.ranges), scramble=True, rng=0).random_base2(exponent)
        return [own, *map(self._options_at, points[: count - 1])]

    def runs(self, count: int) -> list[tuple[dict[str, float], list[RunConfig]]]:
        """Return (options, one run for each seed) of every trial."""
        planned = []
        for options in self.trials(count):
            config = self.config
            for option, value in options.items():
                config = config.with_option(f"rule.{option}", value)
            planned.append((options, [config.with_option("seed", seed) for seed in self.seeds]))
        return planned

    def at_edge(self, options: Mapping[str, float]) -> list[str]:
        """Return the options whose values lie in the outer tenth of their range."""
        fractions = {o: _fraction(value, *self.ranges[o]) for o, value in options.items()}
        return [o for o, fraction in fractions.items() if not _EDGE <= fraction <= 1 - _EDGE]

    def _options_at(self, point: Sequence[float]) -> dict[str, float]:
        """Map a point of the unit cube to the ranges."""
        hints = option_hints(type(self.config.rule))
        options = {}
        for (option, bounds), fraction in zip(self.ranges.items(), point, strict=True):
            value = _value(fraction, *bounds)
            options[option] = round(value) if _is_integer(hints[option]) else float(f"{value:.4g}")
        return options


def studies(request: Request) -> list[Study]:
    """Return a study for each problem and rule of a request.

    Raises OptionError if a key except seed has several values, or if the rules of one problem have
    different budgets.
    """
    by_pair: dict[Words, dict[Words, list[int]]] = {}
    for words in expand(request):
        others = tuple(word for word in words if not word.startswith("seed="))
        seed = next((word[5:] for word in words if word.startswith("seed=")), "0")
        if not seed.isdecimal():
            raise OptionError(object, "seed", seed, "must be a whole number")
        by_pair.setdefault(words[:2], {}).setdefault(others, []).append(FIRST_SEED + int(seed))
    tuned = []
    for pair, seeds in by_pair.items():
        if len(seeds) > 1:
            differ = sorted(set.union(*map(set, seeds)) - set.intersection(*map(set, seeds)))
            reason = f"tune takes one value for each key except seed (in {' '.join(pair)})"
            raise OptionError(object, "grid", " ".join(differ), reason)
        ((words, of_pair),) = seeds.items()
        config = config_of(words)
        keys = (word.partition("=")[0] for word in words)
        given = frozenset(key.removeprefix("rule.") for key in keys if key.startswith("rule."))
        ranges = {o: r for o, r in type(config.rule).tunable.items() if o not in given}
        tuned.append(Study(config, tuple(of_pair), given, ranges))
    _refuse_unequal(tuned)
    return tuned


def _refuse_unequal(tuned: Sequence[Study]) -> None:
    budgets: dict[str, tuple[Any, str]] = {}
    for study in tuned:
        settings, (problem, rule) = study.config.settings, study.names
        budget = (settings.steps, settings.seconds)
        first, other = budgets.setdefault(problem, (budget, rule))
        if first != budget:
            reason = f"{other} and {rule} have different budgets; give seconds= or steps= for all"
            raise OptionError(object, "problem", problem, reason)


def _logarithmic(low: float, high: float) -> bool:
    return low > 0 and high / low > _DECADE


def _value(fraction: float, low: float, high: float) -> float:
    """Return a point of a range, on a logarithmic scale if it spans more than a decade."""
    if _logarithmic(low, high):
        return low * (high / low) ** fraction
    return low + (high - low) * fraction


def _fraction(value: float, low: float, high: float) -> float:
    """Invert `_value`."""
    if _logarithmic(low, high):
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _is_integer(hint: Any) -> bool:
    return hint is int or getattr(hint, "__origin__", None) is int
