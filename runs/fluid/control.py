"""Control of smoke: networks by kinds of training and execution, against solves of single scenes.

    python runs/fluid/control.py    all runs; about 25 minutes on one CPU core

Runs that are finished are not repeated, and one that was stopped goes on. After each run the table
is written to control.md beside this file.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax

from physopt.analysis.words import markdown_table
from physopt.config import from_words
from physopt.options import Options
from physopt.records import RunFolder
from physopt.records.status import FINISHED
from physopt.script import script
from physopt.training.inference import seconds_of_inference
from physopt.training.run import Run, begin

HERE = Path(__file__).resolve().parent

TRAINED = ["problem=fluid_control", "rule=adam", "log_every=100", "heldout_size=32"]
ALONE = [
    *("problem=fluid_control", "network=none", "batch_size=32", "heldout_size=32", "rule=adam"),
    *("rule.learning_rate=0.03", "steps=200", "log_every=50"),
]
BUCKET = ["problem=smoke_bucket", "rule=adam", "rule.learning_rate=1e-3", "heldout_size=32"]

RUNS: dict[str, list[str]] = {
    "taught": [
        *("problem=fluid_control_supervised", "network=staggered", "steps=400", "log_every=100"),
        *("batch_size=8", "rule=adam", "rule.learning_rate=1e-3"),
    ],
    "staggered": [*TRAINED, "network=staggered", "start={taught}", "steps=200",
                  "rule.learning_rate=1e-3"],
    "refined": [*TRAINED, "network=refined", "start={staggered}", "steps=100",
                "rule.learning_rate=3e-4"],
    "shooting": ALONE,
    "multi-scale shooting": [*ALONE, "problem.multiscale=true"],
    "shooting from staggered": [*ALONE, "start={staggered}"],
    "chained": [*TRAINED, "network=cfe", "steps=200", "rule.learning_rate=1e-3"],
    "bucket, staggered": [*BUCKET, "network=staggered", "steps=100"],
    "bucket, straight line": [*BUCKET, "network=line", "steps=100"],
}  # fmt: skip
"""Words of each run, with folders of earlier ones by name, in the order in which they are made."""

FIRST = {"staggered": "supervised, staggered"}
"""Runs whose first evaluation, before any update, is a row of its own, and its name."""

METRICS = {
    "fluid_control": ("observation_error", "observation_l2", "force_half_l2", "mass_error"),
    "smoke_bucket": ("outside", "observation_error", "force_half_l2"),
}


@dataclass(frozen=True)
class ControlOptions(Options):
    """Options of the study."""

    out: Path = Path("runs/results/control")
    """Folder of the runs."""

    table: Path = HERE / "control.md"
    """File of the table."""


def study(options: ControlOptions) -> None:
    """Make the runs one after the other, and write the table after each."""
    folders: dict[str, Path] = {}
    rows: dict[str, list[list[object]]] = {problem: [] for problem in METRICS}
    for name, words in RUNS.items():
        filled = [word.format_map(folders) for word in words]
        run = begin(from_words([*filled, f"out={options.out / name.replace(' ', '_')}"]))
        status = run.status["status"]
        print(f"{name}: {status}", flush=True)
        if status not in FINISHED:
            break  # later runs start from this one
        folders[name] = run.folder
        problem = words[0].partition("=")[2]
        if problem in rows:
            rows[problem] += _rows(name, run, problem, first=not rows[problem])
        options.table.write_text(_text(rows), encoding="utf-8")


def _rows(name: str, run: Run, problem: str, *, first: bool) -> list[list[object]]:
    """Return the rows of a run, with the baselines before the first one."""
    metrics, curve, result = METRICS[problem], run.curve, []
    if first:
        baselines = RunFolder(run.folder).read("baselines.json") or {}
        for method, values in baselines.items():
            result.append([method, *(f"{values[metric]:.3g}" for metric in metrics), "", "", ""])
    seconds = ""
    if run.config.settings.network != "none":
        seconds = f"{seconds_of_inference(run, size=32, repeats=3):.2g}"
    if name in FIRST:
        result.append([FIRST[name], *_numbers(curve.iloc[0], metrics), "", "", seconds])
    last = curve.iloc[-1]
    cost = [str(int(last["step"])), f"{last['t_train']:.0f}", seconds]
    return [*result, [name, *_numbers(last, metrics), *cost]]


def _numbers(row, metrics: tuple[str, ...]) -> list[str]:
    return [f"{row[metric]:.3g}" for metric in metrics]


def _text(rows: dict[str, list[list[object]]]) -> str:
    """Return the tables in Markdown."""
    parts = ["Control of smoke on 32 x 32 cells in 8 steps, means over 32 test scenes, one seed."]
    for problem, lines in rows.items():
        heads = ["method", *METRICS[problem], "updates", "s of training", "s a scene"]
        if lines:
            parts += [f"\n## {problem}\n", markdown_table(heads, lines)]
    parts.append(f"\nWritten by `python runs/fluid/control.py` on {jax.default_backend()}.\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.exit(script(ControlOptions, study, __doc__, sys.argv[1:]))
