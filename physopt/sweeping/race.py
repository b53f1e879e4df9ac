"""Race: which rules serve a problem, by successive halving with equal training seconds.

In every round each candidate, a rule with a step size, is trained for the same seconds with the
same seeds, thus from the same parameters and on the same batches. The best half of the rules and of
their step sizes goes on to the next round, which has longer runs and new seeds, so that the last
comparison is not biased by the selection. Candidates are compared by the lowest value of the
target's metric on the validation set; the test set is not read.

Source: K. Jamieson, A. Talwalkar, AISTATS 2016, arXiv 1502.07943.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from physopt.analysis.statistics import quantile
from physopt.config import RunConfig
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.columns import chosen_by
from physopt.records.status import RESULTS
from physopt.sweeping.display import SweepDisplay
from physopt.sweeping.estimate import Row
from physopt.sweeping.options import RaceOptions
from physopt.sweeping.studies import Study
from physopt.sweeping.tuning import completed

FINALISTS = 3
"""Rules in the last round."""

STEPS = ("learning_rate", "sigma")
"""Options that set the length of a step; the first that a rule has is varied."""

_FACTOR = 4.0
_SEEDS_OF_A_ROUND = 1000  # between the first seeds of two rounds
_OVERTIME = 1.2  # an evaluation after this multiple of the training seconds does not count


class Candidate(NamedTuple):
    """A rule with a step size, None if it has none to vary."""

    rule: str
    rate: float | None


class Round(NamedTuple):
    """The largest extent of a round."""

    rules: int
    rates: int
    """Step sizes of each rule."""
    seeds: int
    runs: int
    seconds: float
    """Training seconds of each run."""


class Heat(NamedTuple):
    """A round that has been run."""

    seconds: float
    rows: dict[Candidate, list[Row]]
    """A run for each seed."""
    errors: dict[Candidate, list[float]]
    """Lowest validation metric of each run, infinite if it failed."""


def candidates(study: Study, count: int) -> dict[Candidate, RunConfig]:
    """Return a rule's candidates: `count` step sizes around its own, inside its range.

    For a rule that adapts its step size: adapted, and fixed to the upper part of the range. One
    candidate if the user fixed the step size, or if the rule has none.
    """
    rule = study.names[1].rpartition(":")[2]
    option = next((name for name in STEPS if name in study.ranges), None)
    if option is None:
        return {Candidate(rule, None): study.config}
    own = getattr(study.config.rule, option)
    low, high = study.ranges[option]
    in_units = option in study.units  # the range has another unit than the option
    configs = {}
    if own is None:
        configs[Candidate(rule, None)] = study.config
        rates = [] if in_units else [high * _FACTOR**-k for k in range(1, count)]
    else:
        rates = [own * _FACTOR ** (k - (count - 1) // 2) for k in range(count)]
    for rate in (float(f"{rate:.4g}") for rate in rates):
        if rate == own or in_units or low <= rate <= high:
            configs[Candidate(rule, rate)] = study.config.with_option(f"rule.{option}", rate)
    return configs


def schedule(counts: Sequence[int], options: RaceOptions, total: float) -> list[Round]:
    """Return the rounds of a race: each has an equal part of the total training seconds.

    counts: the number of step sizes of each rule. Raises OptionError without rules.
    """
    if not counts:
        raise OptionError(object, "rule", "", "no rule can serve this problem")
    extents = [(len(counts), max(counts))]
    while extents[-1][0] > FINALISTS or extents[-1][1] > 1:
        rules, rates = extents[-1]
        extents.append((min(rules, max(FINALISTS, math.ceil(rules / 2))), math.ceil(rates / 2)))
    rounds = []
    for k, (rules, rates) in enumerate(extents):
        last = k == len(extents) - 1
        seeds = options.seeds if last else min(1 + (k > 0), options.seeds)
        largest = sorted((min(count, rates) for count in counts), reverse=True)[:rules]
        runs = sum(largest) * seeds
        seconds = float(f"{total / len(extents) / runs:.3g}")
        rounds.append(Round(rules, rates, seeds, runs, seconds))
    return rounds


def survivors(
    errors: Mapping[Candidate, Sequence[float]], rules: int, rates: int, reference: str
) -> list[Candidate]:
    """Return the candidates that go on: the best `rates` of each of the best `rules` rules.

    A rule is as good as its best candidate, a candidate as the median over its seeds. The reference
    takes the last place if it is not among the best. Candidates that failed do not go on.
    """
    medians = {candidate: float(quantile(values, 0.5)) for candidate, values in errors.items()}
    of_rules: dict[str, list[Candidate]] = {}
    for candidate in sorted(medians, key=lambda candidate: medians[candidate]):
        if math.isfinite(medians[candidate]):
            of_rules.setdefault(candidate.rule, []).append(candidate)
    best = list(of_rules)[:rules]
    if reference in of_rules and reference not in best:
        best = [*best[: rules - 1], reference]
    return [candidate for rule in best for candidate in of_rules[rule][:rates]]


def race(
    studies: Sequence[Study],
    options: RaceOptions,
    rounds: Sequence[Round],
    display: Callable[[], SweepDisplay] = SweepDisplay,
) -> list[Heat]:
    """Run the rounds; return what was run, the last round last.

    Finished runs are left alone, so the same race resumes. Raises KeyboardInterrupt if runs were
    interrupted, which a later race completes.
    """
    configs = {
        c: config for study in studies for c, config in candidates(study, options.rates).items()
    }
    left, heats = list(configs), []
    for number, one in enumerate(rounds):
        if number:
            left = survivors(heats[-1].errors, one.rules, one.rates, options.reference)
        if not left:
            break
        first = studies[0].seeds[0] + number * _SEEDS_OF_A_ROUND
        seeds = range(first, first + one.seeds)
        runs = {c: [_run(configs[c], one.seconds, seed) for seed in seeds] for c in left}
        screen = display()
        screen.note(f"round {number + 1} of {len(rounds)}: {_extent(left, one)}")
        rows = completed([run for of_one in runs.values() for run in of_one], options, screen)
        rows_of = {c: [rows[run] for run in of_one] for c, of_one in runs.items()}
        errors = {c: [lowest_error(row) for row in of_one] for c, of_one in rows_of.items()}
        heats.append(Heat(one.seconds, rows_of, errors))
    return heats


def lowest_error(row: Row) -> float:
    """Return the lowest validation metric of a run, infinite if it failed."""
    if row.status not in RESULTS:
        return math.inf
    return min((value for _, value in error_curve(row)), default=math.inf)


def error_curve(row: Row) -> list[tuple[float, float]]:
    """Return (training seconds, metric on the validation set) of a run's evaluations.

    An evaluation after its training seconds does not count: an update may take longer than these.
    """
    seconds = row.config.settings.seconds or math.inf
    target = row.config.problem.target
    column = chosen_by(target and target[0])
    points = ((point["t_train"], point.get(column)) for point in RunFolder(row.folder).curve())
    return [
        (time, value)
        for time, value in points
        if value is not None and math.isfinite(value) and time <= _OVERTIME * seconds
    ]


def finalists(heats: Sequence[Heat]) -> dict[str, tuple[Candidate, list[float]]]:
    """Return the best candidate of each rule of the last round with its errors."""
    if not heats:
        return {}
    errors = heats[-1].errors
    best = survivors(errors, len(errors), 1, "")
    failed = [c for c in errors if c.rule not in {other.rule for other in best}]
    return {c.rule: (c, errors[c]) for c in [*failed, *best]}


def dropped(heats: Sequence[Heat]) -> dict[int, list[str]]:
    """Return {round: rules that left the race after it}."""
    left = [{candidate.rule for candidate in heat.errors} for heat in heats]
    return {
        number: sorted(before - after)
        for number, (before, after) in enumerate(itertools.pairwise(left), start=1)
        if before - after
    }


def disturbed_runs(heat: Heat) -> str:
    """Return a remark on runs that shared the machine with other work, "" if there are none."""
    folders = [RunFolder(row.folder) for of_one in heat.rows.values() for row in of_one]
    remarks = [remark for folder in folders if (remark := folder.status().get("timing"))]
    if not remarks:
        return ""
    return f"{len(remarks)} of {len(folders)} runs of the last round are unreliable: {remarks[0]}"


def _run(config: RunConfig, seconds: float, seed: int) -> RunConfig:
    """Return the run of a candidate; all runs in a folder have the same training seconds.

    It draws no figures, which take longer than many a candidate's training.
    """
    settings = config.settings
    settings = settings.replace(
        steps=None, seconds=seconds, log_every=None, seed=seed, figures=False,
        out=settings.out / f"{seconds:g}s",
    )  # fmt: skip
    return dataclasses.replace(config, settings=settings)


def _extent(left: Iterable[Candidate], one: Round) -> str:
    candidates = list(left)
    rules = len({candidate.rule for candidate in candidates})
    runs = len(candidates) * one.seeds
    return f"{rules} rules, {len(candidates)} candidates, {runs} runs of {one.seconds:g} s"
