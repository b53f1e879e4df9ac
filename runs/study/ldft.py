"""Why Adam leads on the LDFT problems, and how near any matrix comes: part of the study.

    python runs/study/ldft.py [key=value ...]

Makes the runs of ldft_causes.toml, one suspected cause a grid, and direct optimisations
without a network from several starts, which tell targets that some matrix reaches from those that
none does. Writes ldft.md and ldft.png, the errors of single designs. It goes on where it was.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import physopt
from physopt import analysis, arguments, devices
from physopt.analysis.scores import run_errors
from physopt.analysis.words import amount
from physopt.cli import main
from physopt.data import held_out_sets
from physopt.optimizers.first_order import Adam
from physopt.options import OptionError, Options, PositiveInt
from physopt.problems.ldft.named import LDFT2D, LDFT3D
from physopt.train import evaluate, evaluation_chunk

HERE = Path(__file__).resolve().parent
CAUSES = HERE / "ldft_causes.toml"
PROBLEMS = {"ldft2d": LDFT2D, "ldft3d": LDFT3D}
REACHED = 1.0
"""Area error, in per cent, below which a target counts as reached by some matrix."""


@dataclass(frozen=True)
class CauseOptions(Options):
    """What is run; half an hour on two cores."""

    problem: Literal["ldft2d", "ldft3d"] = "ldft2d"
    """Which lattice; the causes are those of ldft2d."""

    samples: PositiveInt = 32
    """Targets of each test set that are optimised directly."""

    restarts: PositiveInt = 4
    """Starts of each direct optimisation."""

    steps: PositiveInt = 300
    """Updates of each direct optimisation."""

    workers: PositiveInt = 2
    """Runs at once, each on one core."""

    study: Path = HERE.parent / "results" / "study" / "full"
    """Folder of the comparison's runs; the causes' go beside them."""

    out: Path = HERE / "out"
    """Folder of table and figure."""


def test_errors(run: physopt.Run) -> dict[str, np.ndarray]:
    """Return the area error of each test sample with a run's best parameters, by test set."""
    problem, settings = run.config.problem, run.config.settings
    with devices.computing(devices.select("cpu")[0], settings.dtype):
        setup, params = run.best()
        chunk = evaluation_chunk(len(setup.held_out), settings.batch_size)
        values = evaluate(setup.objective, params, setup.held_out, setup.source, chunk)
        errors = np.asarray(jax.device_get(values["area_percent"]))
    names = held_out_sets(problem)
    return dict(zip(names, np.split(errors, len(names)), strict=True))


def direct_errors(options: CauseOptions) -> dict[str, np.ndarray]:
    """Return the least area error over restarts of optimising each matrix itself, by test set."""
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(options.restarts):
        run = physopt.run(
            PROBLEMS[options.problem](), Adam(learning_rate=0.3, schedule="cosine"),
            network="none", batch_size=options.samples, heldout_size=options.samples, seed=seed,
            steps=options.steps, log_every=max(1, options.steps // 5), device="cpu",
            out=options.study / "direct",
        )  # fmt: skip
        for name, errors in test_errors(run).items():
            found.setdefault(name, []).append(errors)
    return {name: np.min(errors, axis=0) for name, errors in found.items()}


def compared(options: CauseOptions) -> dict[str, dict[str, np.ndarray]]:
    """Return the errors of single designs of the comparison's rules, {rule: {set: errors}}.

    The median run of each rule stands for it.
    """
    frame = analysis.load(options.study / "results" / options.problem)
    errors = run_errors(frame)
    found = {}
    for rule, runs in errors.groupby("rule"):
        ordered = runs.sort_values("final_error")
        if np.isfinite(ordered["final_error"]).to_numpy().all():
            folder = str(ordered["folder"].iloc[len(ordered) // 2])
            found[str(rule)] = test_errors(physopt.load(folder))
    return found


def causes_table(options: CauseOptions) -> str:
    """Return the causes' runs as a table, one row a setting: error on either test set."""
    frame = analysis.load(options.study / "causes")
    lines = ["| rule and what is changed | updates | area error, % | procedural, % |"]
    lines.append("| --- | --- | --- | --- |")
    rows = []
    for (case, method), group in frame.groupby(["case", "method"]):
        last = group.loc[group.groupby("folder")["validation_loss"].idxmin()]
        updates = group.groupby("folder")["step"].max().median()
        errors = last["area_percent"].median(), last["area_percent_procedural"].median()
        name = f"{method} {str(case).removeprefix(options.problem)}".strip()
        rows.append((name, updates, *errors))
    for name, updates, simulated, procedural in sorted(rows, key=lambda row: row[2]):
        lines.append(f"| {name} | {updates:.0f} | {amount(simulated)} | {amount(procedural)} |")
    return "\n".join(lines)


def designs_table(rules: dict[str, dict[str, np.ndarray]], direct: dict[str, np.ndarray]) -> str:
    """Return how the errors of single designs are spread, rule by rule."""
    lines = [
        "| | mean, % | median, % | over 10 % | reachable: mean, % | procedural: mean, % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    count = len(direct["test"])
    reachable = {name: errors <= REACHED for name, errors in direct.items()}
    for name, sets in sorted(rules.items(), key=lambda item: item[1]["test"].mean()):
        test = sets["test"]
        reached = test[:count][reachable["test"]].mean()
        lines.append(
            f"| {name} | {amount(test.mean())} | {amount(float(np.median(test)))} | "
            f"{100 * np.mean(test > 10):.0f} % | {amount(reached)} | "
            f"{amount(sets['test_procedural'].mean())} |"
        )
    shares = {name: 100 * mask.mean() for name, mask in reachable.items()}
    lines.append(
        f"\nSome matrix comes within {REACHED:g} % of {shares['test']:.0f} % of the simulated and "
        f"optimised targets, and of {shares['test_procedural']:.0f} % of the procedural ones."
    )
    return "\n".join(lines)


def draw(rules: dict[str, dict[str, np.ndarray]]) -> Figure:
    """Draw the share of designs below an error, for either test set."""
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    titles = {"test": "simulated and optimised", "test_procedural": "procedural"}
    for panel, (name, title) in zip(panels, titles.items(), strict=True):
        for rule, sets in sorted(rules.items()):
            errors = np.sort(sets[name])
            style = {"color": "0.2", "lw": 2, "ls": ":"} if rule == "direct" else {}
            panel.step(errors, np.arange(1, len(errors) + 1) / len(errors), label=rule, **style)
        panel.set(xscale="log", xlabel="area error of a design, %", title=title)
        panel.grid(color="0.9")
    panels[0].set_ylabel("share of targets")
    panels[1].legend(frameon=False, fontsize=8)
    return figure


def study(options: CauseOptions) -> None:
    """Make the runs, and write table and figure."""
    options.out.mkdir(parents=True, exist_ok=True)
    if options.problem == "ldft2d":
        main([
            "sweep", str(CAUSES), f"out={options.study / 'causes'}", "device=cpu", "threads=1",
            f"workers={options.workers}",
        ])  # fmt: skip
    direct = direct_errors(options)
    rules = {**compared(options), "direct": direct}
    text = ["Errors of single designs, the median run of each rule; `direct` is optimisation of",
            f"the matrix itself, the best of {options.restarts} starts.\n",
            designs_table(rules, direct)]  # fmt: skip
    if options.problem == "ldft2d":
        text += ["\nSuspected causes, 20 s on one core, median of two seeds.\n"]
        text += [causes_table(options)]
    name = "ldft" if options.problem == "ldft2d" else options.problem
    (options.out / f"{name}.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    draw(rules).savefig(options.out / f"{name}.png", dpi=130)
    pd.DataFrame({k: v["test"] for k, v in rules.items() if len(v["test"]) == 64}).round(4).to_csv(
        options.out / f"{name}_errors.csv", index=False
    )
    print("\n".join(text))


if __name__ == "__main__":
    try:
        if sys.argv[1:] in (["help"], ["--help"], ["-h"]):
            print(arguments.help_text(CauseOptions, "ldft"))
        else:
            flat = arguments.flat_arguments(sys.argv[1:])
            study(arguments.parse(CauseOptions, flat, "ldft"))
    except OptionError as error:
        sys.exit(f"{error.key}={error.value}: {error.reason}")
