"""Table of published and independently measured numbers beside those of physopt.

    python runs/published [key=value ...]

Makes the missing runs, a few seeds of each, records what they give in runs/published/records.csv
and writes runs/published.md. The same command resumes it after an interruption; `help` lists the
options. `run=false` writes the page from the records alone. Experiments of hours are made only if
named: `only=poisson_b128`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from long import long_experiments
from page import HERE, RECORDS, page, read_records, read_unmeasured, write_records
from quantities import BASELINES, INFERENCE, Curves, Experiment
from short import short_experiments

from physopt.config import from_words
from physopt.options import OptionError, Options, PositiveInt
from physopt.records import RunFolder
from physopt.script import script
from physopt.training.inference import seconds_of_inference
from physopt.training.run import begin


@dataclass(frozen=True)
class PageOptions(Options):
    """Selection of experiments; the short ones take about an hour on two cores."""

    seeds: PositiveInt = 3
    """Runs of each setting, with seeds 0, 1, ..."""

    only: str = ""
    """Name of the experiment to run, or a part of several names."""

    run: bool = True
    """Whether missing runs are made; false: write the page from the records."""

    out: Path = HERE.parent / "results" / "reference"
    """Folder of the runs."""

    records: Path = RECORDS
    """File of the measured numbers."""

    page: Path = HERE.parent / "published.md"
    """The page."""


def curves_of(experiment: Experiment, seed: int, out: Path) -> tuple[Curves, str]:
    """Return the curves of an experiment with a seed, and the device; make missing runs."""
    curves, folders, device = {}, {}, ""
    for name, words in experiment.runs.items():
        print(f"{experiment.name}, {name}, seed {seed}: ", end="", flush=True)
        words = [word.format_map(folders) for word in words]
        run = begin(from_words([*words, f"seed={seed}", f"out={out}"]))
        curves[name], status, folders[name] = run.curve, run.status, run.folder
        if name in experiment.timed:
            curves[name] = curves[name].assign(**{INFERENCE: seconds_of_inference(run)})
        folder = RunFolder(run.folder)
        if methods := folder.read("baselines.json"):
            curves[BASELINES] = pd.DataFrame(methods).T
        environment = folder.read("env.json", like="env.json")
        device = f"{environment['device_kind']}, {environment['cpu_count']} cores"
        print(f"{status['status']}, {status.get('t_train', 0):.0f} s of training", flush=True)
        if status["status"] == "interrupted":
            raise KeyboardInterrupt  # the same command continues the run; half of it is no record
    return curves, device


def measured(experiment: Experiment, options: PageOptions) -> list[dict[str, object]]:
    """Return the records of an experiment."""
    runs = [curves_of(experiment, seed, options.out) for seed in range(options.seeds)]
    records = []
    for quantity in experiment.quantities:
        values = np.array([quantity.measure(curves) for curves, _ in runs])
        median = float(np.median(values))
        record = {
            "problem": experiment.name,
            "quantity": quantity.name,
            "expected": quantity.expected,
            "median": f"{median:.3g}",
            "lowest": f"{values.min():.3g}",
            "highest": f"{values.max():.3g}",
            "seeds": options.seeds,
            "device": runs[0][1],
            "holds": "yes" if quantity.low <= median <= quantity.high else "no",
        }
        print("   ", *record.values(), sep="  ", flush=True)
        records.append(record)
    return records


def selected(experiments: list[Experiment], options: PageOptions) -> list[Experiment]:
    """Return the experiments to be run. Raises OptionError if `only` names none."""
    if not options.run:
        return []
    if not options.only:
        return [e for e in experiments if not e.slow]
    matching = [e for e in experiments if options.only == e.name]
    matching = matching or [e for e in experiments if options.only in e.name]
    if not matching:
        known = ", ".join(e.name for e in experiments)
        raise OptionError(PageOptions, "only", options.only, f"names none of {known}")
    return matching


def make(options: PageOptions) -> None:
    """Make the runs, the records and the page."""
    experiments = [*short_experiments(), *long_experiments()]
    to_run = selected(experiments, options)
    records = read_records(options.records)

    def write() -> None:
        text = page(experiments, records, read_unmeasured())
        options.page.write_text(text, encoding="utf-8")

    for experiment in to_run:
        for record in measured(experiment, options):
            records[experiment.name, str(record["quantity"])] = record
        write_records(records.values(), options.records)
        write()
    write()


if __name__ == "__main__":
    sys.exit(script(PageOptions, make, __doc__, sys.argv[1:]))
