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

from scipy import stats

from physopt.analysis.sensitivity import edge, logarithmic
from physopt.config import RunConfig
from physopt.config.registry import name_of
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.sweeping.plan import Request, Words, config_of, expand, seed_text

FIRST_SEED = 1_000_000
"""Offset that keeps tuning seeds apart from reporting seeds."""


@dataclasses.dataclass(frozen=True)
class Study:
    """The tuning of one rule on one problem."""

    config: RunConfig
    """What all trials have in common."""
    seeds: tuple[int, ...]
    fixed: Mapping[str, Any]
    """{option: value} of the rule's options that the user gave, which are not tuned."""
    ranges: Mapping[str, tuple[float, float]]
    """{option: (low, high)} of the others."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of problem and rule."""
        problem, rule = type(self.config.problem), type(self.config.rule)
        return name_of("problem", problem), name_of("rule", rule)

    @property
    def units(self) -> dict[str, str]:
        """{option: column of the curve by whose first value its range is divided}."""
        declared = type(self.config.rule).tunable_per
        return {option: column for option, column in declared.items() if option in self.ranges}

    def pilot(self, out: Path | None = None) -> RunConfig:
        """Return a run of one update, which measures the units on this problem.

        It is recorded beside the trials, or in the folder `out`.
        """
        settings = self.config.settings
        settings = settings.replace(
            steps=1, seconds=None, log_every=1, out=out or settings.out, seed=self.seeds[0]
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
        own = {option: getattr(self.config.rule, option) for option in self.ranges}
        # The same points for all rules and problems, so that each is searched equally densely.
        exponent = math.ceil(math.log2(max(1, count - 1)))
        points = stats.qmc.Sobol(len(own), scramble=True, rng=0).random_base2(exponent)
        trials = [dict(own) for _ in range(count)]
        for option, fractions in zip(own, points[: count - 1].T, strict=True):
            values = _distribution(*self.ranges[option]).ppf(fractions)
            for trial, value in zip(trials[1:], values, strict=True):
                whole = isinstance(own[option], int)
                trial[option] = round(value) if whole else float(f"{value:.4g}")
        return trials

    def runs(self, count: int) -> list[tuple[dict[str, float], list[RunConfig]]]:
        """Return (options, one run for each seed) of every trial."""
        planned = []
        for options in self.trials(count):
            config = dataclasses.replace(self.config, rule=self.config.rule.replace(**options))
            planned.append((options, [config.with_option("seed", seed) for seed in self.seeds]))
        return planned

    def at_edge(self, options: Mapping[str, float]) -> list[str]:
        """Return the options whose values lie in the outer tenth of their range."""
        return [option for option, value in options.items() if edge(value, *self.ranges[option])]


def studies(request: Request) -> list[Study]:
    """Return a study for each problem and rule of a request.

    Raises OptionError if a key except seed has several values, or if the rules of one problem have
    different budgets.
    """
    by_pair: dict[Words, dict[Words, list[int]]] = {}
    for words in expand(request):
        others = tuple(word for word in words if word != seed_text(words))
        seed = FIRST_SEED + config_of(words).settings.seed
        by_pair.setdefault(words[:2], {}).setdefault(others, []).append(seed)
    tuned = []
    for pair, seeds in by_pair.items():
        if len(seeds) > 1:
            differ = sorted(set.union(*map(set, seeds)) - set.intersection(*map(set, seeds)))
            reason = f"tune takes one value for each key except seed (in {' '.join(pair)})"
            raise OptionError(object, "grid", " ".join(differ), reason)
        ((words, of_pair),) = seeds.items()
        config, keys = config_of(words), {word.partition("=")[0] for word in words}
        fixed = {o: v for o, v in config.rule.as_dict().items() if f"rule.{o}" in keys}
        ranges = {o: r for o, r in type(config.rule).tunable.items() if o not in fixed}
        tuned.append(Study(config, tuple(of_pair), fixed, ranges))
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


def _distribution(low: float, high: float) -> Any:
    """Return the uniform distribution of a range; of its logarithm beyond a decade."""
    if logarithmic(low, high):
        return stats.loguniform(low, high)
    return stats.uniform(low, high - low)
