"""Rules of today beside those of the study, on four problems, with 5 s of training each.

    python runs/contenders.py                     # about twenty minutes on one core; resumes
    python runs/contenders.py quantum adam,soap   # some of the runs

Each rule has its defaults and the options that the problem declares. Writes contenders.md beside
this file: the median of the final errors on the test set over three seeds, lowest first.
"""

import math
import sys
from pathlib import Path
from statistics import median

import physopt
from physopt.analysis.words import markdown_table
from physopt.config.registry import find
from physopt.options import OptionError
from physopt.rule import PlanError

PROBLEMS = ("oscillators", "quantum", "poisson8", "ldft2d")
STUDIED = ("adam", "sip", "hig", "gauss_newton")
CONTENDERS = (
    *("levenberg_marquardt", "soap", "kfac", "spring"),
    *("ssbroyden", "adahessian"),
)
SEEDS, SECONDS = (0, 1, 2), 5.0

OUT = Path(__file__).parent / "results" / "contenders"
TABLE = Path(__file__).with_suffix(".md")
HEADER = f"""# Contenders: {SECONDS:g} s of training, three seeds

Final error on the test set, float32, one core. In bold the rules that today's study does not have.
Written by `contenders.py`; findings are in [README.md](README.md).

"""


def errors(problem: str, rule: str) -> list[float] | str:
    """Return the final error of each seed, or why the rule is refused."""
    try:
        runs = [
            physopt.run(problem, rule, seed=seed, seconds=SECONDS, figures=False, out=OUT)
            for seed in SEEDS
        ]
    except (OptionError, PlanError) as error:
        return str(error)
    name = find("problem", problem).target[0]
    for run in runs:
        if run.curve.empty:
            return str(run.status["reason"])
    return [float(run.curve[name].iloc[-1]) for run in runs]


def row(place: int, rule: str, values: list[float] | str) -> list[str]:
    """Return a row of the table."""
    name = f"`{rule}`" if rule in STUDIED else f"**`{rule}`**"
    if isinstance(values, str):
        return ["", name, "refused", values.splitlines()[0]]
    each = ", ".join(f"{value:.3g}" for value in values)
    return [str(place), name, f"{median(values):.3g}", each]


def table(problem: str, results: dict[str, list[float] | str]) -> str:
    """Return the table of a problem from the errors of each rule, the lowest median first."""

    def key(rule: str) -> float:
        values = results[rule]
        return math.inf if isinstance(values, str) else median(values)

    rows = [row(i + 1, rule, results[rule]) for i, rule in enumerate(sorted(results, key=key))]
    metric = find("problem", problem).target[0]
    heads = ["", "rule", "median", "seeds 0, 1, 2"]
    return f"## {problem}: {metric}\n\n{markdown_table(heads, rows)}"


def main(problems: tuple[str, ...] | list[str], rules: tuple[str, ...] | list[str]) -> None:
    """Make the runs, rule by rule, and write the tables if none was left out."""
    results: dict[str, dict[str, list[float] | str]] = {problem: {} for problem in problems}
    for rule in rules:
        for problem in problems:
            results[problem][rule] = errors(problem, rule)
            print(problem, rule, results[problem][rule], flush=True)
    if (problems, rules) == (PROBLEMS, (*STUDIED, *CONTENDERS)):
        tables = "\n".join(table(problem, results[problem]) for problem in PROBLEMS)
        TABLE.write_text(HEADER + tables)


if __name__ == "__main__":
    given = [argument.split(",") for argument in sys.argv[1:]]
    main(*(given + [PROBLEMS, (*STUDIED, *CONTENDERS)][len(given) :]))
