"""Rules of every kind on the fluid problems, with the same training time: table and figure.

    python runs/fluid/compare.py                    all runs; about 40 minutes on one CPU core
    python runs/fluid/compare.py seeds=1            the first seed alone
    python runs/fluid/compare.py run=false          table and figure from the recorded curves

Sizes are small, see CASES; `runs/fluid/compare.toml` is a sweep at the default sizes. The same
command continues after an interruption. The results, out/compare.md and out/compare.png, are
discussed in README.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis.words import markdown_table
from physopt.config import from_words
from physopt.options import OptionError, Options, PositiveFloat, PositiveInt
from physopt.rule import PlanError
from physopt.script import script
from physopt.training.run import begin

OUT = Path(__file__).resolve().parent / "out"

CASES = {
    "navier_stokes": ("velocity_error", [
        "problem.size=16", "problem.levels=3", "problem.filters=8", "batch_size=16",
        "heldout_size=32",
    ]),
    "pressure_guess": ("iterations", [
        "problem.size=16", "problem.features=[4,8,16]", "batch_size=16", "train_size=1024",
        "heldout_size=32",
    ]),
    "forced_burgers": ("velocity_mae", [
        "problem.cells=16", "problem.refinement=2", "problem.frames=20", "problem.features=8",
        "problem.blocks=1", "batch_size=5", "train_size=480", "heldout_size=8",
    ]),
}  # fmt: skip
"""Metric and words of each problem."""

RULES = {
    "adam": ["rule=adam"],
    "muon": ["rule=muon"],
    "soap": ["rule=soap"],
    "sip": ["rule=sip"],
    "hig": ["rule=hig"],
    "levenberg_marquardt": ["rule=levenberg_marquardt"],
}
"""Words of each rule; options are those that problem and rule declare."""

FURTHER = {
    "navier_stokes": {
        "sip, estimated translation": ["rule=sip", "problem.translation=estimated"],
        "sip, Gauss-Newton": ["rule=sip", "problem.inverse=gauss_newton"],
    }
}
"""Further methods of a problem: other inverse steps of sip."""

KEYS = ["problem", "method", "seed"]
COLUMNS = [*KEYS, "step", "t_train", "validation", "test"]
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#777777", "#56b4e9", "#000000")


@dataclass(frozen=True)
class CompareOptions(Options):
    """Budget of the comparison."""

    seconds: PositiveFloat = 10.0
    """Training time of each run."""

    seeds: PositiveInt = 3
    """Runs of each pair, with seeds 0, 1, ..."""

    run: bool = True
    """Make the runs that are missing; false reads the recorded curves."""

    runs: Path = Path("runs/results/fluid")
    """Folder of the runs."""

    out: Path = OUT
    """Folder of curves, table and figure."""


def methods(problem: str) -> dict[str, list[str]]:
    """Return the words of each method on a problem."""
    return {**RULES, **FURTHER.get(problem, {})}


def curve(problem: str, method: str, seed: int, options: CompareOptions) -> pd.DataFrame:
    """Return the curve of a run; make it if it is missing. A refused pair has one row of NaN."""
    metric, words = CASES[problem]
    words = [f"problem={problem}", *words, *methods(problem)[method], f"seconds={options.seconds}",
             f"seed={seed}", "log_every=none", "figures=false", f"out={options.runs}"]  # fmt: skip
    try:
        run = begin(from_words(words))
    except (PlanError, OptionError) as refusal:
        print(f"{problem}, {method}: refused: {refusal}", flush=True)
        return pd.DataFrame([[problem, method, seed, 0, 0.0, np.nan, np.nan]], columns=COLUMNS)
    state = run.status["status"]
    print(f"{problem}, {method}, seed {seed}: {state}, {run.curve.step.iloc[-1]} updates")
    if state == "interrupted":
        raise KeyboardInterrupt
    kept = run.curve[["step", "t_train", f"validation_{metric}", metric]].set_axis(
        COLUMNS[3:], axis="columns"
    )
    return kept.assign(problem=problem, method=method, seed=seed)[COLUMNS]


def best(curves: pd.DataFrame) -> pd.DataFrame:
    """Return a row per run: the test metric where validation was best, and all updates."""

    def row(run: pd.DataFrame) -> pd.Series:
        ok = run.dropna(subset=["validation", "test"])
        value = ok.test[ok.validation.idxmin()] if len(ok) else np.nan
        return pd.Series({"test": value, "updates": run.step.max()})

    return curves.groupby(KEYS, sort=False)[COLUMNS[3:]].apply(row).reset_index()


def table(curves: pd.DataFrame) -> str:
    """Return a table for each problem, the best method first."""
    parts = []
    for problem, of_problem in best(curves).groupby("problem", sort=False):
        rows = []
        start = curves[(curves.problem == problem) & (curves.step == 0)].test.median()
        ordered = of_problem.groupby("method").test.median().sort_values().index
        for method in ordered:
            runs = of_problem[of_problem.method == method]
            values = [f"{v:.3g}" for v in runs.test]
            updates = f"{runs.updates.median():.0f}"
            shown = [f"{runs.test.median():.3g}", ", ".join(values), updates]
            rows.append([method, *(shown if runs.test.notna().any() else ["refused", "–", "–"])])
        metric = CASES[str(problem)][0]
        heads = ["rule", f"{metric}, median", "seeds", "updates"]
        title = f"`{problem}`, {metric} {start:.3g} before training\n"
        parts += [title, markdown_table(heads, rows)]
    return "\n".join(parts)


def draw(curves: pd.DataFrame, seconds: float) -> Figure:
    """Draw the median over seeds of the test metric against training time, up to the budget.

    An update that takes longer than the budget ends outside: of its run the line shows the start.
    """
    shown = list(dict.fromkeys(curves.problem))
    figure = Figure(figsize=(4.2 * len(shown), 3.6), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    names = list(dict.fromkeys(curves.dropna().method))
    for axis, problem in zip(axes, shown, strict=True):
        for name, colour in zip(names, COLOURS, strict=False):
            runs = curves[(curves.problem == problem) & (curves.method == name)].dropna()
            if runs.empty:
                continue
            times = np.linspace(0, runs.groupby("seed").t_train.max().min(), 60)
            values = [np.interp(times, run.t_train, run.test) for _, run in runs.groupby("seed")]
            axis.plot(times, np.median(values, axis=0), color=colour, label=name)
        axis.set_title(problem, fontsize=9)
        axis.set_xlabel("training time in s", fontsize=8)
        axis.set_ylabel(CASES[problem][0], fontsize=8)
        axis.set_xlim(0, 1.02 * seconds)
        axis.tick_params(labelsize=7)
    lines = {line.get_label(): line for axis in axes for line in axis.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=4, fontsize=8,
                  frameon=False)  # fmt: skip
    return figure


def compare(options: CompareOptions) -> None:
    """Make the runs, one seed of everything after the other, and write the results."""
    path = options.out / "compare.csv"
    options.out.mkdir(parents=True, exist_ok=True)
    of_run = dict(iter(pd.read_csv(path).groupby(KEYS, sort=False))) if path.is_file() else {}
    for seed in range(options.seeds if options.run else 0):
        for problem in CASES:
            for method in methods(problem):
                of_run[problem, method, seed] = curve(problem, method, seed, options)
                pd.concat(of_run.values()).to_csv(path, index=False, float_format="%.5g")
    if not of_run:
        raise OptionError(CompareOptions, "run", False, f"{path} has no recorded curves")
    curves = pd.concat(of_run.values())
    text = table(curves)
    print(text)
    (options.out / "compare.md").write_text(text + "\n", encoding="utf-8")
    draw(curves, options.seconds).savefig(options.out / "compare.png")


if __name__ == "__main__":
    sys.exit(script(CompareOptions, compare, __doc__, sys.argv[1:]))
