"""Tune: options of rules chosen on the validation set, with the same effort for every rule.

Each rule gets the same number of trials on each problem, with equal budgets: the options it has
untuned, so that few trials do not make it worse by bad luck, then points of a scrambled Sobol
sequence over the ranges that it declares (I. M. Sobol, 1967, doi 10.1016/0041-5553(67)90144-9;
A. B. Owen, 1998, doi 10.1006/jcom.1998.0487). The seeds of tuning are apart from those of
reporting, and the test set is not looked at.
"""

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import qmc

from physopt.config import from_words
from physopt.config.parse import load_toml, option_hints
from physopt.config.registry import find
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.status import RESULTS
from physopt.sweeping.display import Row
from physopt.sweeping.plan import PlannedRun, Request, expand

FIRST_SEED = 1_000_000
"""Added to the seeds that are given: reporting, which begins at 0, never comes so far."""

_DECADE = 10.0

Words = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Study:
    """The tuning of one rule on one problem."""

    words: Words
    """What all trials have in common: problem=, rule=, settings."""
    seeds: tuple[int, ...]
    ranges: Mapping[str, tuple[float, float]]
    """{option: (low, high)}, without what the user fixed."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of problem and rule."""
        problem, rule = (word.partition("=")[2] for word in self.words[:2])
        return problem, rule

    @property
    def out(self) -> Path:
        """The folder of the trials."""
        return from_words(list(self.words)).settings.out

    @property
    def fixed(self) -> dict[str, Any]:
        """The options of the rule that the user gave."""
        rule = from_words(list(self.words)).rule.as_dict()
        given = (word.partition("=")[0] for word in self.words)
        names = (key.removeprefix("rule.") for key in given if key.startswith("rule."))
        return {name: rule[name] for name in names}

    @property
    def per(self) -> dict[str, str]:
        """{option: column of the curve by whose first value its range is divided}."""
        declared = find("rule", self.names[1]).tunable_per
        return {option: column for option, column in declared.items() if option in self.ranges}

    def pilot(self, out: Path | None = None) -> PlannedRun:
        """Return a run of one update, which measures the units of this problem.

        It is recorded beside the trials, or in another folder.
        """
        own = ("steps=", "seconds=", "log_every=", "out=")
        kept = [w for w in self.words if not w.startswith(own)]
        words = (*kept, "steps=1", "log_every=1", f"out={out or self.out}", f"seed={self.seeds[0]}")
        return PlannedRun(words, from_words(list(words)))

    def in_units(self, folder: RunFolder) -> "Study":
        """Return the study with its ranges in this problem's units, as its pilot measured them.

        Raises OptionError where the pilot did not come so far.
        """
        rows = folder.curve()
        ranges = dict(self.ranges)
        for option, column in self.per.items():
            value = rows[-1].get(column) if len(rows) > 1 else None
            if not value:
                reason = f"no {column} to scale its range by: {folder.status().get('reason')}"
                raise OptionError(object, f"rule.{option}", self.names[1], reason)
            low, high = self.ranges[option]
            ranges[option] = (low / value, high / value)
        return dataclasses.replace(self, ranges=ranges)

    def trials(self, count: int) -> list[dict[str, float]]:
        """Return the options of each trial: the rule's own, then points of the ranges.

        One trial without options where nothing can be tuned.
        """
        if not self.ranges:
            return [{}]
        options = from_words(list(self.words)).rule.as_dict()
        own = {option: options[option] for option in self.ranges}
        # One sequence for all rules and problems: what is tuned in one is as dense as in another.
        points = max(1, count - 1)
        unit = qmc.Sobol(len(self.ranges), scramble=True, rng=0).random_base2(
            math.ceil(math.log2(points))
        )[: count - 1]
        hints = option_hints(find("rule", self.names[1]))
        return [
            own,
            *(
                {
                    option: _value(fraction, *self.ranges[option], whole=_is_whole(hints[option]))
                    for option, fraction in zip(self.ranges, point, strict=True)
                }
                for point in unit
            ),
        ]

    def runs(self, count: int) -> list[tuple[dict[str, float], list[PlannedRun]]]:
        """Return (options, one run for each seed) of every trial."""
        planned = []
        for options in self.trials(count):
            chosen = [f"rule.{option}={value:.4g}" for option, value in options.items()]
            words = [(*self.words, *chosen, f"seed={seed}") for seed in self.seeds]
            planned.append((options, [PlannedRun(w, from_words(list(w))) for w in words]))
        return planned


def studies(request: Request) -> list[Study]:
    """Return a study for each problem and rule of a request.

    Raises OptionError where a key but the seed has several values, or where rules of one problem
    would have different budgets.
    """
    by_pair: dict[Words, dict[Words, list[int]]] = {}
    for words in expand(request):
        others = tuple(word for word in words if not word.startswith("seed="))
        seed = next((word[5:] for word in words if word.startswith("seed=")), "0")
        if not seed.isdecimal():
            raise OptionError(object, "seed", seed, "must be a whole number")
        settings = by_pair.setdefault(words[:2], {}).setdefault(others, [])
        settings.append(FIRST_SEED + int(seed))
    found = []
    for pair, settings in by_pair.items():
        if len(settings) > 1:
            differ = sorted(set.union(*map(set, settings)) - set.intersection(*map(set, settings)))
            reason = f"tune takes one value but for seed (in {' '.join(pair)})"
            raise OptionError(object, "grid", " ".join(differ), reason)
        ((words, seeds),) = settings.items()
        given = {word.partition("=")[0] for word in words}
        rule = find("rule", pair[1].partition("=")[2])
        ranges = {o: r for o, r in rule.tunable.items() if f"rule.{o}" not in given}
        found.append(Study(words, tuple(seeds), ranges))
    _refuse_unequal(found)
    return found


def _refuse_unequal(found: Sequence[Study]) -> None:
    budgets: dict[str, tuple[Any, str]] = {}
    for study in found:
        settings = from_words(list(study.words)).settings
        problem, rule = study.names
        budget = (settings.steps, settings.seconds)
        first, other = budgets.setdefault(problem, (budget, rule))
        if first != budget:
            reason = f"{other} and {rule} have different budgets; give seconds= or steps= for all"
            raise OptionError(object, "problem", problem, reason)


def _value(fraction: float, low: float, high: float, *, whole: bool) -> float:
    """Return a point of a range, on a logarithmic scale where it spans more than a decade."""
    if low > 0 and high / low > _DECADE:
        value = low * (high / low) ** fraction
    else:
        value = low + (high - low) * fraction
    return round(value) if whole else float(f"{value:.4g}")


def _is_whole(hint: Any) -> bool:
    return hint is int or getattr(hint, "__origin__", None) is int


def score(rows: Iterable[Row]) -> float:
    """Return a trial's median over its seeds of the lowest validation loss.

    The loss is what a rule minimises. Chosen by the target's metric instead, nine choices of the
    comparison study changed: five became better, four worse, one by far. A run that diverged, or
    did not come to its end, counts as infinite.
    """
    return statistics.median(map(_lowest, rows))


def _lowest(row: Row) -> float:
    if row.status not in RESULTS:
        return math.inf
    losses = (point.get("validation_loss") for point in RunFolder(row.folder).curve())
    return min((loss for loss in losses if loss is not None), default=math.inf)


def at_edge(study: Study, options: Mapping[str, float]) -> list[str]:
    """Name the chosen options that lie in the outer tenth of their range."""
    return [
        o for o, value in options.items() if not 0.1 <= _fraction(value, study.ranges[o]) <= 0.9
    ]


def _fraction(value: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    if low > 0 and high / low > _DECADE:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def write_choice(
    path: Path, chosen: Mapping[tuple[str, str], Mapping[str, Any]], trials: int, remark: str
) -> None:
    """Write the options of each (problem, rule) as a file that sweep reads.

    What the file has for other pairs stays. The number of trials goes into the records of the runs.
    """
    kept: dict[tuple[str, str], tuple[int, Mapping[str, Any]]] = {}
    if path.is_file():
        for grid in load_toml(path).get("grid", []):
            rule = dict(grid["rule"])
            kept[grid["problem"], rule.pop("name")] = grid.get("tuning_trials", 0), rule
    new = {names: (trials, options) for names, options in chosen.items()}
    lines = [f"# {line}" for line in remark.splitlines()]
    for (problem, rule), (spent, options) in sorted({**kept, **new}.items()):
        table = {"name": rule, **options}
        inner = ", ".join(f"{k} = {_toml(v)}" for k, v in table.items())
        lines += ["", "[[grid]]", f"tuning_trials = {spent}"]
        lines += [f"problem = {_toml(problem)}", f"rule = {{{inner}}}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return '"none"' if value is None else json.dumps(value)
