"""Commands on many runs: sweep, tune."""

import shlex
from typing import TYPE_CHECKING, Any

from physopt.commands import Command, plain_help
from physopt.config.text import from_text
from physopt.options import annotations
from physopt.sweeping.options import SweepOptions, TuneOptions

if TYPE_CHECKING:
    from physopt.sweeping.plan import Request

_SWEEP_USAGE = "sweep [file.toml] problem=A,B rule=C,D seed=0,1,2 [key=value ...]"

_SWEEP_DESCRIPTION = """
    Make every run of a grid: commas outside brackets separate the values of a key.

    python -m physopt sweep problem=ldft2d rule=adam,sip batch_size=8,16,32 seed=0,1,2 plan=true
    python -m physopt sweep problem=ldft2d rule=adam,sip rule.adam.learning_rate=1e-4,1e-3
    python -m physopt sweep runs/compare.toml seed=0 workers=4 timeout=3600

    Each run is a process of its own. Finished runs are left alone; the same command resumes a sweep
    that was interrupted. In a TOML file lists make the grid, a table such as [rule.adam] holds the
    options of one rule (or [problem.ldft2d] of one problem), and each [[grid]] is a grid of its
    own. All settings of `run` are accepted, and these options:
"""


def _sweep(words: list[str]) -> int:
    from physopt.training.display import activity

    with activity():
        from physopt.sweeping.display import display_for_terminal, show_plan, show_sweep
        from physopt.sweeping.driver import survey, sweep
        from physopt.sweeping.plan import planned_runs

        request, options = read_grid(SweepOptions, words)
        runs = planned_runs(request)
    if options.plan:
        show_plan(*survey(runs, options))
        return 0
    return show_sweep(sweep(runs, options, display_for_terminal()), runs[0].settings.out)


def read_grid(cls: type, words: list[str]) -> "tuple[Request, Any]":
    """Return the requested grid, and the options that are no part of it."""
    from physopt.sweeping.plan import read_request, take

    request = read_request(words)
    return request, from_text(cls, take(request, list(annotations(cls))))


_TUNE_USAGE = "tune [file.toml] problem=A,B rule=C,D seconds=S [trials=N] [key=value ...]"

_TUNE_DESCRIPTION = """
    Select the options of rules on the validation set, with equal effort: the same number of trials
    (a rule's options as they are, then a scrambled Sobol sequence over the ranges that it declares,
    see `info RULE`) and the same budget for every rule of a problem. Options that are given are not
    tuned.

    python -m physopt tune problem=ldft2d,poisson rule=adam,sip seconds=30 trials=17
    python -m physopt sweep runs/tuning/tuned.toml seed=0,1,2,3,4 seconds=300

    The trials are runs in out=runs/tuning, apart from the results, with seeds from 1000000 on. The
    folder also gets tuned.toml, trials.csv and a figure for each problem. As in a sweep, finished
    trials are left alone. If the steps of a rule have units, one update on the problem measures
    them and scales the range; plan=true makes these updates too, and prints the ranges.
"""


def _tune(words: list[str]) -> int:
    from physopt.training.display import activity

    with activity():
        from physopt.sweeping.display import display_for_terminal, show_plan
        from physopt.sweeping.driver import survey
        from physopt.sweeping.studies import studies
        from physopt.sweeping.tuning import planned_studies, tune

        request, options = read_grid(TuneOptions, words)
        request.top.setdefault("out", ["runs/tuning"])
        tuned = studies(request)
    if options.plan:
        if any(study.units for study in tuned) and not options.executor:
            print("making the updates that scale the ranges", flush=True)
        planned, remarks = planned_studies(tuned, options)
        runs = [run for study in planned for _, runs in study.runs(options.trials) for run in runs]
        show_plan(*survey(runs, options))
        for study in planned:
            for option, (low, high) in study.ranges.items():
                print(f"{' '.join(study.names)}: {option} from {low:.4g} to {high:.4g}")
        for remark in remarks:
            print(remark)
        return 0
    path = tune(tuned, options, display_for_terminal())
    print(path.read_text(encoding="utf-8"))
    print(f"wrote  {path}")
    print(f"next   python -m physopt sweep {shlex.quote(str(path))} seed=0,1,2")
    return 0


SWEEP = Command(
    _SWEEP_USAGE,
    "make every run of a grid",
    _sweep,
    plain_help(_SWEEP_USAGE, _SWEEP_DESCRIPTION, SweepOptions),
    SweepOptions,
    takes_run=True,
)
TUNE = Command(
    _TUNE_USAGE,
    "select the options of rules with equal effort",
    _tune,
    plain_help(_TUNE_USAGE, _TUNE_DESCRIPTION, TuneOptions),
    TuneOptions,
    takes_run=True,
)
