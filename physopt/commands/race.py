"""Command race: which rules serve a problem, found in a given training time."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from physopt.commands import Command, plain_help
from physopt.commands.sweeps import read_grid
from physopt.config.registry import needs_no_trust
from physopt.options import OptionError
from physopt.sweeping.options import RaceOptions

if TYPE_CHECKING:
    from physopt.analysis.ranking import Standing
    from physopt.checking.conditioning import Conditioning
    from physopt.checking.findings import Finding
    from physopt.sweeping.plan import Request
    from physopt.sweeping.race import Heat, Round
    from physopt.sweeping.studies import Study
    from physopt.training.display import Display

RULES = (
    *("adam", "sgd", "muon", "lbfgs"),
    *("sip", "hig", "gauss_newton", "levenberg_marquardt"),
)
"""Rules that are raced if none are named: one of each family that needs no extra package."""

_USAGE = "race problem=NAME [rule=A,B] [seconds=S] [key=value ...]"

_DESCRIPTION = """
    Find the rules that serve a problem: measure its costs and its conditioning, then race the rules
    by successive halving with equal training seconds, the same seeds and batches, on one core each.

    python -m physopt race problem=my_problem.py:MyProblem seconds=120
    python -m physopt race problem=oscillators rule=adam,hig,gauss_newton seconds=60 seeds=8
    python -m physopt run runs/race/race.toml seconds=300

    A problem of your own is checked first. Each round trains the remaining rules, with several step
    sizes, for longer than the round before and with new seeds; about half of them go on. They are
    compared by the target's metric on the validation set. The end is a ranking with intervals,
    race.toml with the best settings for `run` and `sweep`, race.csv and race.png, in
    out=runs/race. The same command resumes a race. plan=true prints measurements and rounds.

    All settings of `run` but steps, seed lists and log_every are accepted, and these options:
"""


def _race(words: list[str]) -> int:
    from physopt.training.display import activity

    with activity() as display:
        from physopt.sweeping.display import display_for_terminal
        from physopt.sweeping.race import race

        request, options = read_grid(RaceOptions, words)
        studies = _studies(request)
        findings = _findings(studies[0], display)
        failed = not all(finding.passed for finding in findings)
        measured = None if failed else _measured(studies, display)
    if measured is None:
        from physopt.commands.show import show_findings

        return show_findings(studies[0].names[0], findings)
    if findings:
        print(f"all {len(findings)} checks passed")
    print("\n".join(measured.lines()), flush=True)
    studies = _serving(studies, measured)
    options, rounds = _plan(studies, options, measured)
    for number, one in enumerate(rounds, start=1):
        print(
            f"round {number}   rules {one.rules}, step sizes {one.rates}, seeds {one.seeds}: "
            f"at most {one.runs} runs of {one.seconds:g} s of training"
        )
    if options.plan:
        return 0
    heats = race(studies, options, rounds, display_for_terminal)
    return _report(words, studies, options, measured, heats)


def _studies(request: "Request") -> "list[Study]":
    """Return a study for each rule of the request, all of one problem."""
    from physopt.sweeping.studies import studies

    layers = (request.top, *request.grids, request.typed)
    if any("steps" in layer for layer in layers):
        raise OptionError(object, "steps", "", "a race has equal training seconds: give seconds=")
    request.top.setdefault("out", ["runs/race"])
    if not any("rule" in layer for layer in layers):
        request.top["rule"] = list(RULES)
    raced = studies(request)
    if len(problems := {study.names[0] for study in raced}) > 1:
        reason = "a race has one problem"
        raise OptionError(object, "problem", ",".join(sorted(problems)), reason)
    return raced


def _findings(study: "Study", display: "Display") -> "Sequence[Finding]":
    """Check a problem of the user's own; others have no findings."""
    name = study.names[0]
    if needs_no_trust("problem", name):
        return ()
    from physopt.checking import check

    return check(study.config.problem, display)


def _measured(studies: "Sequence[Study]", display: "Display") -> "Conditioning":
    # Runs in other processes need the memory of an accelerator.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    from physopt.checking.conditioning import conditioning

    display.phase("measuring the costs and the conditioning of the problem")
    rules = {_short(study): study.config.rule for study in studies}
    return conditioning(studies[0].config, rules)


def _serving(studies: "Sequence[Study]", measured: "Conditioning") -> "list[Study]":
    """Return the studies of the rules that do not refuse, on the platform that was measured."""
    from dataclasses import replace

    return [
        replace(study, config=study.config.with_option("device", measured.platform))
        for study in studies
        if _short(study) not in measured.refusals
    ]


def _plan(
    studies: "Sequence[Study]", options: RaceOptions, measured: "Conditioning"
) -> "tuple[RaceOptions, list[Round]]":
    """Return the options with the number of workers, and the rounds."""
    from physopt.sweeping.race import candidates, schedule
    from physopt.sweeping.resources import cores

    workers = options.workers or 1
    if not options.executor:
        accelerated = measured.platform != "cpu"
        workers = options.workers or (measured.devices if accelerated else cores())
        options = options.replace(workers=workers)
        workers = min(workers, measured.devices) if accelerated else workers
    counts = [len(candidates(study, options.rates)) for study in studies]
    return options, schedule(counts, options, options.seconds * workers)


def _report(
    words: Sequence[str],
    studies: "Sequence[Study]",
    options: RaceOptions,
    measured: "Conditioning",
    heats: "Sequence[Heat]",
) -> int:
    """Print the ranking and write the files of a race; return the exit code."""
    from physopt.analysis.ranking import rank, verdict
    from physopt.commands.show_race import show_ranking
    from physopt.sweeping.race import disturbed_runs, dropped, finalists
    from physopt.sweeping.race_files import labelled, write_race

    last = finalists(heats)
    standings = rank({rule: errors for rule, (_, errors) in last.items()})
    gone = [f"{', '.join(rules)} left in round {k}" for k, rules in dropped(heats).items()]
    refused = [f"{', '.join(measured.refusals)} cannot serve it"] if measured.refusals else []
    length = f"{heats[-1].seconds:g} s"
    sentence = verdict(standings, length, options.reference, [*gone, *refused])
    best = None
    if standings and standings[0].failed < standings[0].seeds:
        candidate = last[standings[0].method][0]
        config = heats[-1].rows[candidate][0].config
        best = config.with_option("tuning_trials", options.rates)
    out = Path(studies[0].config.settings.out)
    remark = "\n".join([f"Selected by `race`: {sentence}.", *measured.lines()])
    files = write_race(heats, standings, best, remark, out)
    show_ranking(standings, {rule: labelled(c) for rule, (c, _) in last.items()}, length)
    print(f"\n{sentence}")
    print(_longer(words, options, standings))
    if disturbed := disturbed_runs(heats[-1]):
        print(f"timing {disturbed}")
    for file in files:
        print(f"wrote  {file}")
    if best is None:
        return 1
    print(f"next   python -m physopt run {shlex.quote(str(files[0]))} seconds={options.seconds:g}")
    return 0


def _longer(words: Sequence[str], options: RaceOptions, standings: "Sequence[Standing]") -> str:
    """Return how much longer a race would make the ranking sure."""
    from physopt.analysis.ranking import MOST_SEEDS, seeds_to_be_sure

    needed, equal = seeds_to_be_sure(standings)
    lines = []
    if needed is not None:
        seconds = options.seconds * needed / options.seeds
        kept = [word for word in words if word.partition("=")[0] not in ("seconds", "seeds")]
        command = shlex.join(["python", "-m", "physopt", "race", *kept])
        lines.append(
            f"surer  about {needed / options.seeds:.2g} times as long, if the differences stay as "
            f"they are: {command} seconds={seconds:.3g} seeds={needed}"
        )
    if equal:
        names = ", ".join(equal)
        lines.append(f"equal  more than {MOST_SEEDS} seeds would not tell {names} from the best")
    return "\n".join(lines) or "surer  every difference from the best rule is sure"


def _short(study: "Study") -> str:
    return study.names[1].rpartition(":")[2]


RACE = Command(
    _USAGE,
    "find the rules that serve a problem",
    _race,
    plain_help(_USAGE, _DESCRIPTION, RaceOptions),
    RaceOptions,
    takes_run=True,
)
