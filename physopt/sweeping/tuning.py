"""Tuning: the trials of `physopt.sweeping.studies` made as a sweep, and the options they select.

tuned.toml        the selected options, for `python -m physopt sweep`
trials.csv        every trial with its options and its score
sensitivity_*.png the score against each option
"""

import json
import math
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.analysis.sensitivity import plot_sensitivity
from physopt.config import RunConfig
from physopt.config.parse import load_toml
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.status import RESULTS
from physopt.sweeping.display import SweepDisplay
from physopt.sweeping.driver import survey, sweep
from physopt.sweeping.estimate import Row
from physopt.sweeping.options import SweepOptions, TuneOptions
from physopt.sweeping.studies import Study

Names = tuple[str, str]


def tune(
    studies: Sequence[Study], options: TuneOptions, display: SweepDisplay | None = None
) -> Path:
    """Make the trials of all studies; return the file with the selected options.

    Raises KeyboardInterrupt if the trials were interrupted: a selection needs all of them.
    """
    scaled = _in_units(studies, options, display)
    planned = [study.runs(options.trials) for study in scaled]
    runs = [run for trials in planned for _, of_trial in trials for run in of_trial]
    rows = completed(runs, options, display)
    table = []
    for study, trials in zip(scaled, planned, strict=True):
        problem, rule = study.names
        for number, (values, of_trial) in enumerate(trials):
            made = [rows[run] for run in of_trial]
            status = " ".join(sorted({row.status for row in made}))
            names = {"problem": problem, "rule": rule, "trial": number, "status": status}
            table.append({**names, "validation_loss": score(made), **values})
    return _write(scaled, pd.DataFrame(table), options)


def planned_studies(
    studies: Sequence[Study], options: TuneOptions
) -> tuple[Sequence[Study], list[str]]:
    """Return studies with the ranges that `tune` will use, and a remark on each unknown range.

    Nothing is written to the folder of the studies: unless pilots have measured all units there,
    they are measured in a temporary folder.
    """
    scaled = [study for study in studies if study.units]
    unknown = [
        f"{' '.join(study.names)}: the range of {option} will be divided by {column}, which "
        for study in scaled
        for option, column in study.units.items()
    ]
    if not scaled:
        return studies, []
    if options.executor:
        return studies, [f"{remark}the cluster measures" for remark in unknown]
    try:
        pilots = [study.pilot() for study in scaled]
        if all(row.earlier for row in survey(pilots, options).rows):
            return _in_units(studies, options), []
        with tempfile.TemporaryDirectory() as folder:
            return _in_units(studies, options, out=Path(folder)), []
    except OptionError as error:  # planning is possible where running is not
        return studies, [*(f"{remark}is not known here" for remark in unknown), str(error)]


def score(rows: Iterable[Row]) -> float:
    """Return the score of a trial: the median over its seeds of the lowest validation loss.

    The loss is what a rule minimises. With the target's metric instead, nine selections of the
    comparison study changed: five improved, four got worse, one by far. A run that diverged or did
    not reach its end counts as infinite.
    """
    return statistics.median(map(_lowest_loss, rows))


def write_selection(
    path: Path, selected: Mapping[Names, Mapping[str, Any]], trials: int, remark: str
) -> None:
    """Write the options of each (problem, rule) as a file that `sweep` reads.

    Entries of the file for other pairs are kept. The number of trials goes into the runs' records.
    """
    entries: dict[Names, tuple[int, Mapping[str, Any]]] = {}
    if path.is_file():
        for grid in load_toml(path).get("grid", []):
            rule = dict(grid["rule"])
            entries[grid["problem"], rule.pop("name")] = grid.get("tuning_trials", 0), rule
    entries |= {names: (trials, options) for names, options in selected.items()}
    lines = [f"# {line}" for line in remark.splitlines()]
    for (problem, rule), (spent, options) in sorted(entries.items()):
        inner = ", ".join(f"{k} = {toml_text(v)}" for k, v in {"name": rule, **options}.items())
        lines += ["", "[[grid]]", f"tuning_trials = {spent}"]
        lines += [f"problem = {toml_text(problem)}", f"rule = {{{inner}}}"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _in_units(
    studies: Sequence[Study],
    options: TuneOptions,
    display: SweepDisplay | None = None,
    out: Path | None = None,
) -> list[Study]:
    """Measure the units on which ranges depend, in runs beside the trials or in `out`."""
    rows = completed([study.pilot(out) for study in studies if study.units], options, display)
    return [
        study.in_units(RunFolder(rows[study.pilot(out)].folder)) if study.units else study
        for study in studies
    ]


def completed(
    runs: Sequence[RunConfig], options: SweepOptions, display: SweepDisplay | None
) -> dict[RunConfig, Row]:
    """Make runs as a sweep; raise KeyboardInterrupt if one was interrupted."""
    rows = sweep(runs, options, display) if runs else []
    if any(row.status == "interrupted" for row in rows):
        raise KeyboardInterrupt
    return {row.config: row for row in rows}


def _lowest_loss(row: Row) -> float:
    if row.status not in RESULTS:
        return math.inf
    losses = (point.get("validation_loss") for point in RunFolder(row.folder).curve())
    return min((loss for loss in losses if loss is not None), default=math.inf)


def _write(studies: Sequence[Study], table: pd.DataFrame, options: TuneOptions) -> Path:
    """Write the selected options, the trials and the figures."""
    out, selected = studies[0].config.settings.out, {}
    remarks = [f"Selected by `tune`: {options.trials} trials for each problem and rule."]
    words = [study.config.words()[2:] for study in studies]
    common = [word for word in words[0] if all(word in other for other in words)]
    remarks += [f"In all trials: {' '.join(common)}"] if common else []
    for study in studies:
        problem, rule = study.names
        trials = table[(table.problem == problem) & (table.rule == rule)]
        values, about = _best(study, trials)
        remarks += [f"{problem} {rule}: {remark}" for remark in about]
        if values is not None:
            selected[study.names] = {**study.fixed, **values}
    path = options.tuned or out / "tuned.toml"
    write_selection(path, selected, options.trials, "\n".join(remarks))
    table.to_csv(out / "trials.csv", index=False)
    for problem, trials in table.groupby("problem"):
        name = str(problem).rpartition(":")[2]
        of_problem = [study for study in studies if study.names[0] == problem]
        ranges = {(s.names[1], o): bounds for s in of_problem for o, bounds in s.ranges.items()}
        plot_sensitivity(trials, ranges).savefig(out / f"sensitivity_{name}.png")
    return path


def _best(study: Study, trials: pd.DataFrame) -> tuple[dict[str, Any] | None, list[str]]:
    """Return the options of the best trial and remarks; None if the rule refuses the problem."""
    best = trials.loc[trials.validation_loss.idxmin()].to_dict()
    if math.isfinite(best["validation_loss"]):
        values = {option: best[option] for option in study.ranges}
        edge = study.at_edge(values)
        return values, [f"{o}={values[o]:g} is near the end of its range" for o in edge]
    if best["status"] == "skipped":
        return None, ["the rule refuses the problem"]
    return {}, ["no trial reached its end; the defaults are kept"]


def toml_text(value: Any) -> str:
    """Return an option's value as TOML."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_text, value)) + "]"
    return '"none"' if value is None else json.dumps(value)
