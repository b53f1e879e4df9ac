"""The comparison study's results, compact: scores, curves, sensitivity, claims and the report.

    python runs/study/results.py [study=FOLDER] [out=FOLDER]

Reads the runs of `python runs/study`, complete or not, and writes scores.csv, scores.md,
curves.png, sensitivity.png, claims.md, batch_sizes.md and report.html. The tables of
runs/study/README.md are copied from them by hand.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from claims import Claim, tested_claims

from physopt import analysis
from physopt.analysis.errors import run_errors
from physopt.analysis.sensitivity import plot_learning_rates
from physopt.analysis.words import amount, interval, markdown_table
from physopt.config.registry import find
from physopt.options import OptionError, Options
from physopt.script import script

HERE = Path(__file__).resolve().parent
PROBLEMS = (
    "oscillators", "quantum", "poisson8", "burgers", "ldft2d", "ldft3d", "ldft_hysteresis",
    "poisson", "heat",
)  # fmt: skip


@dataclass(frozen=True)
class ResultOptions(Options):
    """Where the study's runs are, and where its results go."""

    study: Path = HERE.parent / "results" / "study" / "full"
    """Folder with results, tuning and claims."""

    out: Path = HERE / "out"
    """Folder of what is written."""


def write_results(options: ResultOptions) -> None:
    """Write everything that the runs at hand allow."""
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    # The report states the command that repeats its figures, with the folder as given here.
    frame = analysis.load(os.path.relpath(options.study / "results"))
    if frame.empty:
        raise OptionError(ResultOptions, "study", options.study, "holds no runs")
    order = [name for name in PROBLEMS if name in set(frame["case"])]
    frame = with_todays_targets(frame)
    frame = frame.sort_values("case", key=lambda c: c.map(order.index), kind="stable")
    scores = analysis.score_table(frame)
    scores.round(8).to_csv(out / "scores.csv", index=False)
    (out / "scores.md").write_text(scores_text(scores, order), encoding="utf-8")
    analysis.curves(frame).savefig(out / "curves.png", dpi=110)
    trials = [pd.read_csv(path) for path in sorted((options.study / "tuning").glob("*/trials.csv"))]
    if trials:
        plot_learning_rates(pd.concat(trials)).savefig(out / "sensitivity.png", dpi=110)
    folder = options.study / "claims"
    curves = analysis.load(folder) if folder.is_dir() else pd.DataFrame()
    if len(curves):
        (out / "batch_sizes.md").write_text(batch_sizes_text(curves), encoding="utf-8")
    (out / "claims.md").write_text(claims_text(tested_claims(frame, curves)), encoding="utf-8")
    analysis.write_report(frame, os.path.relpath(out / "report.html"))
    print("\n".join(str(path) for path in sorted(out.iterdir())))


def with_todays_targets(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the curves with the targets that the problems have now.

    A record has that of its day. What counts as solved is judged afterwards, and no number of a run
    depends on it.
    """
    targets = {name: find("problem", name).target for name in frame["problem"].unique()}
    metric, value = ({name: t[k] for name, t in targets.items() if t} for k in (0, 1))
    return frame.assign(
        target_metric=frame["problem"].map(metric), target_value=frame["problem"].map(value)
    )


def batch_sizes_text(curves: pd.DataFrame) -> str:
    """Return the final errors by batch size, of the runs for single claims, as a table.

    A cell holds the median error and the updates. A row has one budget in seconds.
    """
    errors = run_errors(curves)
    errors = errors[errors["budget_seconds"].notna()]
    sizes = sorted(errors["batch_size"].unique())
    rows = []
    for (problem, rule, seconds), group in errors.groupby(["problem", "rule", "budget_seconds"]):
        if group["batch_size"].nunique() == 1:
            continue
        row = [f"`{problem}`", f"`{rule}`", f"{seconds:g} s", group["metric"].iloc[0]]
        for size in sizes:
            one = group[group["batch_size"] == size]
            median, updates = one["final_error"].median(), one["step"].median()
            row.append(f"{amount(median)} ({amount(updates)})" if len(one) else "")
        rows.append(row)
    return markdown_table(
        ["problem", "rule", "budget", "metric", *[f"b = {size:g}" for size in sizes]], rows
    )


def scores_text(scores: pd.DataFrame, order: list[str]) -> str:
    """Return scores as a table: a row for each rule, a column for each problem.

    A cell holds the median of the final errors and its interval, then the time to the target.
    """
    cases = {case: scores[scores["case"] == case].set_index("method") for case in order}
    heads = [f"`{case}`<br>{table['metric'].iloc[0]}" for case, table in cases.items()]
    targets = [f"to {amount(table['target'].iloc[0])}" for table in cases.values()]
    best = {case: table["median"].min() for case, table in cases.items()}
    rows = [["", *targets]]
    for rule in sorted(scores["method"].unique()):
        cells = [_cell(table, rule, best[case]) for case, table in cases.items()]
        rows.append([f"`{rule}`", *cells])
    return markdown_table(["rule", *heads], rows)


def _cell(table: pd.DataFrame, rule: str, best: float) -> str:
    if rule not in table.index:
        return "refused"
    row = table.loc[rule]
    error = amount(row["median"]).replace("never", "∞")
    error = f"**{error}**" if row["median"] == best else error
    reached, runs = int(row["reached"]), int(row["runs"])
    time = f"{amount(row['penalised'])} s" if reached else "not reached"
    some = f", {reached} of {runs}" if 0 < reached < runs else ""
    failed = f"<br>{int(row['failed'])} of {runs} failed" if row["failed"] else ""
    return f"{error} {interval(row['low'], row['high'])}<br>{time}{some}{failed}"


def claims_text(claims: list[Claim]) -> str:
    """Return the claims as a table."""
    rows = [[c.claim, c.source, c.measured, f"**{c.verdict}**"] for c in claims]
    return markdown_table(["claim", "source", "measured here", "verdict"], rows)


if __name__ == "__main__":
    sys.exit(script(ResultOptions, write_results, __doc__, sys.argv[1:]))
