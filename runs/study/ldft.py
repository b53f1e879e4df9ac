"""Errors of single LDFT designs: of the rules, a bank of matrices, and direct optimisation.

    python runs/study/ldft.py [problem=NAME] [key=value ...]

Part of the comparison study, whose runs it reads. Optimises matrices directly, without a network
and from several starts, to separate targets that some matrix reaches from those that none does.
Writes NAME.md, NAME.png and NAME_errors.csv. With `causes=true` it also makes the runs of
ldft_causes.toml, which test why Adam leads on ldft2d. The same command resumes it.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import pandas as pd
from commands import call
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import physopt
from physopt import analysis
from physopt.analysis.errors import best_rows, run_errors
from physopt.analysis.style import method_styles, shared_legend, styled
from physopt.analysis.words import amount, markdown_table
from physopt.config import from_words
from physopt.config.registry import find
from physopt.config.text import value_text
from physopt.machine import devices
from physopt.options import Options, PositiveInt
from physopt.problems.ldft.design import InverseDesign
from physopt.records.samples import Unreadable, read_samples
from physopt.script import script
from physopt.training.data import held_out_samples, held_out_sets
from physopt.training.loop import evaluate, evaluation_chunk

HERE = Path(__file__).resolve().parent
CAUSES = HERE / "ldft_causes.toml"
METRIC = "area_percent"
REACHED = 1.0
"""Area error, in per cent, below which a target counts as reached by some matrix."""
FAILED = 10.0
"""Area error, in per cent, above which a design counts as a total failure."""
TITLES = {"test": "simulated and optimised", "test_procedural": "procedural"}
DIRECT = "direct"

Errors = dict[str, np.ndarray]
"""Area errors of single designs, in per cent, by test set."""


@dataclass(frozen=True)
class DesignOptions(Options):
    """Selection of designs, and the effort of the direct optimisation."""

    problem: Literal["ldft2d", "ldft3d", "ldft_hysteresis"] = "ldft2d"
    """The problem, and so the lattice."""

    restarts: PositiveInt = 4
    """Starts of each direct optimisation."""

    steps: PositiveInt = 300
    """Updates of each direct optimisation."""

    heldout_size: PositiveInt = 64
    """Targets of each test set, those of the comparison's runs."""

    causes: bool = False
    """Make the runs of ldft_causes.toml as well."""

    workers: PositiveInt = 2
    """Concurrent runs, each on one core."""

    study: Path = HERE.parent / "results" / "study" / "full"
    """Folder of the comparison's runs; the others are written beside them."""

    out: Path = HERE / "out"
    """Folder of table and figure."""


def design_errors(folder: str | Path) -> Errors:
    """Return the error of each test sample with a run's best parameters."""
    run = physopt.load(folder)
    settings = run.config.settings
    with devices.computing(devices.select("cpu")[0], settings.dtype):
        setup, params = run.best()
        chunk = evaluation_chunk(len(setup.held_out), settings.batch_size)
        measured = evaluate(setup.objective, params, setup.held_out, setup.source, chunk)
        errors = np.asarray(jax.device_get(measured.values[METRIC]))
    names = held_out_sets(run.config.problem)
    return dict(zip(names, np.split(errors, len(names)), strict=True))


def refined_errors(folder: str | Path) -> Errors:
    """Return the error of each test sample of a run after refinement, {} if it was not refined."""
    try:
        samples = read_samples(folder)
    except Unreadable:
        return {}
    columns = {name: f"{METRIC}_refined{name.removeprefix('test')}" for name in TITLES}
    return {name: samples[column] for name, column in columns.items() if column in samples}


def direct_errors(options: DesignOptions) -> tuple[Errors, Errors]:
    """Return the least errors, over the starts, of a matrix that is optimised itself.

    Those of the optimisation alone, and those after refinement.
    """
    out = options.study / DIRECT
    call(
        "sweep", f"problem={options.problem}", "rule=adam", "rule.learning_rate=0.3",
        "rule.schedule=cosine", "network=none", f"batch_size={options.heldout_size}",
        f"heldout_size={options.heldout_size}", f"steps={options.steps}",
        f"log_every={max(1, options.steps // 5)}",
        f"seed={','.join(map(str, range(options.restarts)))}", f"out={out}", "device=cpu",
        "threads=1", f"workers={options.workers}",
    )  # fmt: skip
    folders = analysis.load(out / options.problem)["folder"].unique()
    kinds = [[errors(folder) for folder in folders] for errors in (design_errors, refined_errors)]
    alone, refined = (
        {name: np.min([errors[name] for errors in starts], axis=0) for name in starts[0]}
        for starts in kinds
    )
    return alone, refined


def median_runs(options: DesignOptions) -> dict[str, str]:
    """Return the folder of the median run of each rule of the comparison."""
    finals = run_errors(analysis.load(options.study / "results" / options.problem))
    found = {}
    for rule, runs in finals.groupby("rule"):
        median = runs.sort_values("final_error").iloc[len(runs) // 2]
        if np.isfinite(median["final_error"]):
            found[str(rule)] = str(median["folder"])
    return found


def bank_errors(options: DesignOptions) -> dict[str, dict[str, float]]:
    """Return {method: {test set: mean error}} of the baselines."""
    problem: InverseDesign = find("problem", options.problem)(refine=0)
    found: dict[str, dict[str, float]] = {}
    samples, size = held_out_samples(problem, options.heldout_size), options.heldout_size
    for place, name in enumerate(held_out_sets(problem)):
        within = slice(place * size, (place + 1) * size)
        part = jax.tree.map(lambda leaf, within=within: leaf[within], samples)
        for method, metrics in problem.baselines(part).items():
            found.setdefault(method, {})[name] = metrics[METRIC]
    return found


def reachable(errors: dict[str, Errors]) -> dict[str, np.ndarray]:
    """Say of each target whether one of the matrices that were found reaches it."""
    sets = next(iter(errors.values()))
    return {name: np.min([e[name] for e in errors.values()], axis=0) <= REACHED for name in sets}


def designs_table(errors: dict[str, Errors], bank: dict[str, dict[str, float]]) -> str:
    """Return how the errors of single designs are spread, rule by rule, best first."""
    reach = reachable(errors)
    sets = [name for name in TITLES if name in reach]
    heads = ["", "median, %", f"over {FAILED:g} %"]
    for name in sets:
        heads += [f"{TITLES[name]}: mean, %", "of these reachable, %", "unreachable, %"]
    rows = []
    for method, found in sorted(errors.items(), key=lambda item: item[1]["test"].mean()):
        test = found["test"]
        row = [
            f"`{method}`",
            amount(float(np.median(test))),
            f"{100 * np.mean(test > FAILED):.0f} %",
        ]
        for name in sets:
            row += [amount(_mean(found[name][mask])) for mask in _parts(reach[name])]
        rows.append(row)
    for method, means in bank.items():
        cells = [cell for name in sets for cell in (amount(means[name]), "", "")]
        rows.append([method.replace("_", " "), "", "", *cells])
    shares = " and ".join(f"{reach[n].sum()} of {len(reach[n])} {TITLES[n]}" for n in sets)
    return (
        f"Reachable, by a matrix that anyone here found within {REACHED:g} %: {shares} targets.\n\n"
        + markdown_table(heads, rows)
    )


def refined_table(errors: dict[str, Errors]) -> str:
    """Return the mean errors of refined designs, a row a method, best first."""
    ordered = sorted(
        (item for item in errors.items() if item[1]), key=lambda m: m[1]["test"].mean()
    )
    rows = [
        [f"`{method}`", *(amount(float(found[name].mean())) for name in found)]
        for method, found in ordered
    ]
    heads = ["refined by flips", *(f"{TITLES[name]}: mean, %" for name in TITLES)]
    return markdown_table(heads, rows) if rows else ""


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(mask.shape, True), mask, ~mask


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def causes_table(frame: pd.DataFrame) -> str:
    """Return the runs of the causes, a row a setting, best first; medians over seeds."""
    finals = run_errors(frame)
    finals["changed"] = finals["folder"].map(changed)
    finals["procedural"] = finals["folder"].map(best_rows(frame)[f"{METRIC}_procedural"])
    rows = []
    for names, group in finals.groupby(["rule", "changed"]):
        errors = [amount(group[column].median()) for column in ("final_error", "procedural")]
        spread = f"{amount(group['final_error'].min())} to {amount(group['final_error'].max())}"
        updates = f"{group['step'].median():.0f}"
        order = group["final_error"].median()
        rows.append((order, [f"`{names[0]}`", names[1], updates, errors[0], spread, errors[1]]))
    heads = ["rule", "what is changed", "updates", "area error, %", "seeds", "procedural, %"]
    return markdown_table(heads, [row for _, row in sorted(rows)])


def changed(folder: str) -> str:
    """Name the options of a run that are not those of its problem and rule, as they are typed."""
    record = physopt.load(folder).config.record()
    kinds = ("problem", "rule")
    usual = from_words([f"{kind}={record[kind]['name']}" for kind in kinds]).record()
    found = {}
    for kind in kinds:
        texts = {key: value_text(value) for key, value in record[kind].items()}
        differs = (key for key in texts if texts[key] != value_text(usual[kind].get(key)))
        found |= {f"{kind}.{key}": texts[key] for key in differs}
    if record["batch_size"] != usual["batch_size"]:
        found["batch_size"] = str(record["batch_size"])
    return " ".join(f"{key}={text}" for key, text in found.items())


@styled
def draw(errors: dict[str, Errors], title: str) -> Figure:
    """Draw the share of targets that a rule's designs come nearer to than an error."""
    sets = [name for name in TITLES if name in next(iter(errors.values()))]
    figure = Figure(figsize=(3.6 * len(sets) + 1.6, 3.2), layout="constrained")
    panels = figure.subplots(1, len(sets), sharey=True, squeeze=False)[0]
    styles = method_styles(set(errors) - {DIRECT})
    styles[DIRECT] = {"color": "0.2", "ls": ":", "lw": 2.2}
    for panel, name in zip(panels, sets, strict=True):
        for method, found in sorted(errors.items()):
            ordered = np.sort(found[name])
            share = np.arange(1, len(ordered) + 1) / len(ordered)
            style = {**styles[method], "marker": ""}
            panel.step(ordered, share, where="post", label=method, **style)
        panel.set(xscale="log", xlabel="area error of a design, %", title=TITLES[name])
        panel.xaxis.set_minor_formatter(NullFormatter())  # they overlap where decades are wide
    panels[0].set_ylabel(f"share of targets, {title}")
    shared_legend(figure, references=(DIRECT,))
    return figure


def study(options: DesignOptions) -> None:
    """Make the runs that are missing, and write tables and figure."""
    options.out.mkdir(parents=True, exist_ok=True)
    folders = median_runs(options)
    direct, direct_refined = direct_errors(options)
    errors = {**{rule: design_errors(run) for rule, run in folders.items()}, DIRECT: direct}
    refined = {rule: refined_errors(run) for rule, run in folders.items()}
    text = (
        f"Designs of {options.problem}, one by one: the median run of each rule; `{DIRECT}` is "
        f"optimisation of the matrix itself, the best of {options.restarts} starts.\n"
        + designs_table(errors, bank_errors(options))
        + "\n"
        + refined_table({**refined, DIRECT: direct_refined})
    )
    (options.out / f"{options.problem}.md").write_text(text, encoding="utf-8")
    draw(errors, options.problem).savefig(options.out / f"{options.problem}.png", dpi=110)
    table = {f"{method} {name}": e for method, sets in errors.items() for name, e in sets.items()}
    pd.DataFrame(table).round(4).to_csv(options.out / f"{options.problem}_errors.csv", index=False)
    print(text)
    if options.causes:
        out = options.study / "causes"
        call("sweep", str(CAUSES), f"out={out}", "device=cpu", "threads=1",
             f"workers={options.workers}")  # fmt: skip
        text = causes_table(analysis.load(out))
        (options.out / "ldft_causes.md").write_text(text, encoding="utf-8")
        print(text)


if __name__ == "__main__":
    sys.exit(script(DesignOptions, study, __doc__, sys.argv[1:]))
