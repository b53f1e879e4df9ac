"""The comparison study: every rule on every problem, tuned alike, and the claims of the papers.

    python runs/study                 all of it; see `help` for the time it takes
    python runs/study version=short   four problems, five rules, in eleven minutes

For each problem `tune` selects each rule's options on the validation set, with equally many trials,
and `sweep` trains with them for equal seconds with every seed. Then follow the runs that test
single claims (claims.toml), the LDFT designs (ldft.py) and the results (results.py). The study can
be interrupted and continued. Each step prints the command that it runs. The findings are in
runs/study/README.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ldft
import results
from commands import call

from physopt.options import OptionError, Options, PositiveFloat, PositiveInt, suggest
from physopt.script import script

HERE = Path(__file__).resolve().parent
CLAIMS = HERE / "claims.toml"


@dataclass(frozen=True)
class Budget:
    """Effort spent on a problem; a tuning trial has half of a run's seconds and samples."""

    seconds: float
    """Training time."""
    heldout: int = 64
    """Samples in each held-out set; few where evaluating them takes longer than training."""
    trials: int = 5
    """Tuning trials of each rule; the first has the rule's own options."""
    restarts: int = 4
    """Starts of the direct optimisation of each LDFT design."""


@dataclass(frozen=True)
class Version:
    """The problems, rules and seeds of a version of the study."""

    problems: dict[str, Budget]
    rules: tuple[str, ...]
    seeds: int
    claims: bool


VERSIONS = {
    "full": Version(
        problems={
            "oscillators": Budget(8), "quantum": Budget(8), "poisson8": Budget(8),
            "burgers": Budget(8), "ldft2d": Budget(20), "ldft3d": Budget(20, 32, 3, 2),
            "ldft_hysteresis": Budget(20, 32, 3, 2), "poisson": Budget(12, 32, 3),
            "heat": Budget(12, 32, 3),
        },
        rules=(
            "adam", "sgd", "muon", "lbfgs", "sip", "hig", "gauss_newton", "metropolis", "open_es",
            "eqprop",
        ),
        seeds=5, claims=True,
    ),
    "short": Version(
        problems={
            "oscillators": Budget(2, trials=3), "quantum": Budget(2, trials=3),
            "poisson8": Budget(2, trials=3), "ldft2d": Budget(4, trials=3),
        },
        rules=("adam", "sip", "hig", "gauss_newton", "metropolis"),
        seeds=2, claims=False,
    ),
}  # fmt: skip

FIXED = ("rule.sgd.momentum=0.9", "log_every=none", "device=cpu")
"""SGD without momentum makes no progress on these problems; 25 evaluations suit every budget."""


@dataclass(frozen=True)
class StudyOptions(Options):
    """The comparison study. Its full version takes about three and a half hours on two cores, the
    short one eleven minutes; each run has a core to itself, so keep the machine free of other work.
    """

    version: Literal["full", "short"] = "full"
    """Size of the study."""

    problem: str = "all"
    """A problem of the study, or all of them."""

    rule: str = "all"
    """A rule of the study, or all of them."""

    workers: PositiveInt = 2
    """Concurrent runs, each on one core."""

    timeout: PositiveFloat = 600.0
    """Wall-clock seconds after which a run is stopped."""

    out: Path = HERE.parent / "results" / "study"
    """Folder of the runs."""


def study(options: StudyOptions) -> int:
    """Make what is missing of the study, and its results; return the largest exit code of its
    commands.
    """
    version = VERSIONS[options.version]
    out = options.out / options.version
    common = (*FIXED, f"workers={options.workers}", "threads=1", f"timeout={options.timeout:g}")
    rules = version.rules if options.rule == "all" else (options.rule,)
    problems = [options.problem] if options.problem != "all" else list(version.problems)
    if not set(problems) <= set(version.problems):
        reason = suggest(options.problem, [*version.problems, "all"])
        raise OptionError(StudyOptions, "problem", options.problem, reason)
    codes = []
    for problem in problems:
        budget = version.problems[problem]
        codes.append(call(
            "tune", f"problem={problem}", f"rule={','.join(rules)}",
            f"seconds={budget.seconds / 2:g}", f"heldout_size={budget.heldout // 2}",
            f"trials={budget.trials}", f"out={out / 'tuning' / problem}",
            f"tuned={out / 'tuned.toml'}", *common,
        ))  # fmt: skip
        codes.append(call(
            "sweep", str(out / "tuned.toml"), f"problem={problem}", f"rule={','.join(rules)}",
            f"seconds={budget.seconds:g}", f"seed={','.join(map(str, range(version.seeds)))}",
            f"out={out / 'results'}", f"heldout_size={budget.heldout}", *common[1:],
        ))  # fmt: skip
    written = HERE / "out" if options.version == "full" else out / "out"
    if version.claims and options.problem == options.rule == "all":
        codes.append(call("sweep", str(CLAIMS), f"out={out / 'claims'}", *common[2:]))
        for problem in (name for name in problems if name.startswith("ldft")):
            budget = version.problems[problem]
            ldft.study(ldft.DesignOptions(
                problem, restarts=budget.restarts, heldout_size=budget.heldout,
                causes=problem == "ldft2d", workers=options.workers, study=out, out=written,
            ))  # fmt: skip
    results.write_results(results.ResultOptions(out, written))
    return max(codes)


if __name__ == "__main__":
    sys.exit(script(StudyOptions, study, __doc__, sys.argv[1:]))
