"""Every rule on every problem of ../pinn.toml, with less time for the two small problems.

Runs follow each other in one process, which saves the start of each. The same command continues a
study that was stopped: finished runs are left alone, and those of another process are skipped.

    python runs/pinn/study.py                          # two and a half hours on one core
    python runs/pinn/study.py --minutes 5 pinn_heat    # the runs of some problems that fit
    python runs/pinn/study.py --minutes 0              # results.md and errors.png from results.csv
"""

import argparse
import itertools
import math
import time
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

import physopt
from physopt.analysis.words import markdown_table
from physopt.records.folder import Locked

HERE = Path(__file__).resolve().parent
SWEEP = tomllib.loads((HERE.parent / "pinn.toml").read_text(encoding="utf-8"))
RESULTS = HERE / "results.csv"
SECONDS = dict.fromkeys(SWEEP["problem"], float(SWEEP["seconds"])) | {
    "pinn_poisson": 5.0,
    "pinn_heat": 5.0,
}
"""Training time of a run on each problem; an update of the two small ones takes a few
milliseconds."""


class Cell(NamedTuple):
    """One run."""

    problem: str
    rule: str
    seed: int


def cells(problems: Collection[str]) -> Iterator[Cell]:
    """Yield the runs of some problems: the first seed of all, then the others."""
    kept = [problem for problem in SWEEP["problem"] if problem in problems]
    for seed, problem, rule in itertools.product(SWEEP["seed"], kept, SWEEP["rule"]):
        yield Cell(problem, rule, seed)


def measured(cell: Cell, out: Path) -> dict[str, object]:
    """Make a run, unless it is finished, and return its row of the results.

    The error of a run that a rule refuses, or that diverged at once, is not a number.
    """
    run = physopt.run(
        cell.problem, cell.rule, seed=cell.seed, seconds=SECONDS[cell.problem], figures=False,
        out=out,
    )  # fmt: skip
    row = cell._asdict() | {"status": run.status["status"]}
    if run.curve.empty:
        return {**row, "relative_l2": math.nan, "updates": 0, "seconds": 0.0}
    last = run.curve.iloc[-1]
    return {
        **row,
        "relative_l2": float(f"{run.curve.relative_l2.min():.4g}"),
        "updates": int(last.step),
        "seconds": round(float(last.t_train), 2),
    }


def study(out: Path, minutes: float, problems: Collection[str]) -> None:
    """Make runs until the time is over, and record each."""
    end = time.monotonic() + 60 * minutes
    for cell in cells(problems):
        if time.monotonic() > end:
            return
        try:
            row = measured(cell, out)
        except Locked:
            continue
        record(row)
        print(*row.values(), flush=True)


def record(row: dict[str, object]) -> None:
    """Add a row to the results, or replace that of the same run."""
    keys = list(Cell._fields)
    earlier = [pd.read_csv(RESULTS)] if RESULTS.exists() else []
    rows = pd.concat([*earlier, pd.DataFrame([row])]).drop_duplicates(keys, keep="last")
    order = {name: k for k, name in enumerate((*SWEEP["problem"], *SWEEP["rule"]))}
    rows = rows.sort_values(keys, key=lambda column: column.map(lambda v: order.get(v, v)))
    new = RESULTS.with_suffix(".new")
    rows.to_csv(new, index=False)
    new.replace(RESULTS)


def table(rows: pd.DataFrame) -> str:
    """Return a table of median errors, rules against problems, with the lowest in bold."""
    medians = rows.groupby(["rule", "problem"]).relative_l2.median().unstack()
    medians = medians.reindex(index=SWEEP["rule"], columns=SWEEP["problem"])
    least = medians.min()
    lines = [
        [f"`{rule}`", *(_text(errors[name], errors[name] == least[name]) for name in medians)]
        for rule, errors in medians.iterrows()
    ]
    return markdown_table(["rule", *(f"`{name}`" for name in medians)], lines)


def _text(error: float, is_least: bool) -> str:
    if pd.isna(error):
        return "refused"
    return f"**{error:.1e}**" if is_least else f"{error:.1e}"


def draw(rows: pd.DataFrame, file: Path) -> None:
    """Draw the error of every run, a panel for each problem."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(2, -(-len(SWEEP["problem"]) // 2), sharex=True, sharey=True)
    rules = SWEEP["rule"]
    for panel, problem in zip(panels.flat, SWEEP["problem"], strict=False):
        of_problem = rows[rows.problem == problem]
        panel.plot(of_problem.relative_l2, of_problem.rule.map(rules.index), "o", alpha=0.6)
        title = f"{problem}, {SECONDS[problem]:g} s"
        panel.set(xscale="log", title=title, yticks=range(len(rules)), yticklabels=rules)
        panel.grid(alpha=0.3)
    panels.flat[0].invert_yaxis()
    figure.supxlabel("relative L2 error, lowest of the training time; a dot for each seed")
    figure.savefig(file, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problems", nargs="*", default=SWEEP["problem"], help="default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/results"), help="folder of the runs")
    parser.add_argument("--minutes", type=float, default=600.0, help="start no run after these")
    options = parser.parse_args()
    study(options.out, options.minutes, options.problems)
    results = pd.read_csv(RESULTS)
    (HERE / "results.md").write_text(table(results), encoding="utf-8")
    draw(results, HERE / "errors.png")
