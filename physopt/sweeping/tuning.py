"""Tuning: the studies of `physopt.sweeping.tune` carried out as sweeps, and what they leave.

tuned.toml        the chosen options, for `python -m physopt sweep`
trials.csv        every trial with its options and its score
sensitivity_*.png how the score depends on each option
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from physopt.analysis.sensitivity import plot_sensitivity
from physopt.records import RunFolder
from physopt.sweeping.display import Display, Row
from physopt.sweeping.driver import survey, sweep
from physopt.sweeping.options import TuneOptions
from physopt.sweeping.tune import Study, at_edge, score, write_choice


def tune(studies: Sequence[Study], options: TuneOptions, display: Display | None = None) -> Path:
    """Carry out studies; return the file with what they chose.

    Raises KeyboardInterrupt where the trials were interrupted: a choice needs all of them.
    """
    scaled = _in_units(studies, options, display)
    planned = [study.runs(options.trials) for study in scaled]
    runs = [run for trials in planned for _, of_trial in trials for run in of_trial]
    rows = iter(_uninterrupted(sweep(runs, options, display)))
    table = []
    for study, trials in zip(scaled, planned, strict=True):
        for number, (values, of_trial) in enumerate(trials):
            table.append(_trial(study, number, values, [next(rows) for _ in of_trial]))
    return _written(scaled, pd.DataFrame(table), options)


def foreseen(studies: Sequence[Study], options: TuneOptions) -> list[Study]:
    """Return studies with the ranges that `tune` will use; nothing is left behind.

    What no pilot has measured yet is measured by one in a temporary folder. Raises OptionError as
    `tune` does.
    """
    scaled = [study for study in studies if study.per]
    rows = survey([study.pilot() for study in scaled], options).rows
    with tempfile.TemporaryDirectory() as folder:
        aside = {
            study.names: Path(folder)
            for study, row in zip(scaled, rows, strict=True)
            if not row.earlier
        }
        return _in_units(studies, options, None, aside)


def _in_units(
    studies: Sequence[Study],
    options: TuneOptions,
    display: Display | None,
    aside: Mapping[tuple[str, str], Path] = MappingProxyType({}),
) -> list[Study]:
    """Measure the units of those problems on which a range depends.

    The runs that do so are recorded beside the trials, or in the folders `aside`.
    """
    pilots = [study.pilot(aside.get(study.names)) for study in studies if study.per]
    if not pilots:
        return list(studies)
    rows = iter(_uninterrupted(sweep(pilots, options, display)))
    return [s.in_units(RunFolder(next(rows).folder)) if s.per else s for s in studies]


def _uninterrupted(rows: list[Row]) -> list[Row]:
    if any(row.status == "interrupted" for row in rows):
        raise KeyboardInterrupt
    return rows


def _trial(study: Study, number: int, values: dict[str, float], rows: list[Row]) -> dict[str, Any]:
    problem, rule = study.names
    ends = " ".join(sorted({row.status for row in rows}))
    names = {"problem": problem, "rule": rule, "trial": number, "status": ends}
    return {**names, "validation_loss": score(rows), **values}


def _written(studies: Sequence[Study], table: pd.DataFrame, options: TuneOptions) -> Path:
    """Write choice, trials and figures."""
    out = studies[0].out
    chosen, remarks = {}, [f"Chosen by `tune`: {options.trials} trials for each problem and rule."]
    common = [w for w in studies[0].words[2:] if all(w in study.words for study in studies)]
    remarks += [f"In all trials: {' '.join(common)}"] if common else []
    for study in studies:
        problem, rule = study.names
        trials = table[(table.problem == problem) & (table.rule == rule)]
        best = trials.loc[trials.validation_loss.idxmin()].to_dict()
        if math.isfinite(best["validation_loss"]):
            values = {option: best[option] for option in study.ranges}
            remarks += [
                f"{problem} {rule}: {option}={values[option]:g} is near the end of its range"
                for option in at_edge(study, values)
            ]
        elif best["status"] == "skipped":
            remarks.append(f"{problem} {rule}: the rule refuses the problem")
            continue
        else:
            values = {}
            remarks.append(f"{problem} {rule}: no trial came to its end, the defaults stay")
        chosen[study.names] = {**study.fixed, **values}
    path = options.tuned or out / "tuned.toml"
    write_choice(path, chosen, options.trials, "\n".join(remarks))
    table.to_csv(out / "trials.csv", index=False)
    for problem in dict.fromkeys(table.problem):
        name = str(problem).rpartition(":")[2]
        of_problem = table.loc[table.problem == problem]
        plot_sensitivity(of_problem).savefig(out / f"sensitivity_{name}.png")
    return path
