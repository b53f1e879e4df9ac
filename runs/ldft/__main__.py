"""The studies of H. Liu et al., npj Computational Materials 9, 121 (2023), with this simulator.

    python runs/ldft [accuracy|translation|memory|pores|gradient|all] [key=value ...]

Writes a table (CSV) and a figure (PNG) per study and prints its result in one line. `help` after
the name of a study lists the options.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cost
import figures
import jax
import matrices
import numpy as np
import pandas as pd
import repetition
import unrolled
from matplotlib.figure import Figure
from pores import pore_sizes

from physopt.options import OptionError, Options, PositiveFloat, PositiveInt
from physopt.script import HELP, script
from physopt.training.run import load


@dataclass(frozen=True)
class StudyOptions(Options):
    """Inputs of the studies; the defaults take about four minutes on two cores."""

    out: Path = Path("runs/results/studies")
    """Folder of the tables and figures."""

    size: PositiveInt = 20
    """Sites along each side of a square lattice; a cubic one has half as many."""

    count: PositiveInt = 32
    """Square matrices; half as many cubic ones."""

    seed: int = 0
    """Seed of the matrices."""

    sweeps: tuple[PositiveInt, ...] = (10, 30, 100, 300)
    """Numbers M of sweeps of the unrolled simulator."""

    distance: PositiveFloat = 0.05
    """Largest distance of the pore fractions from 0 and 1 in the gradient study."""

    limit: PositiveFloat = 0.3
    """Predicted memory in GiB from which the memory study no longer runs a cell."""

    run: Path | None = None
    """Folder of a trained run of ldft2d or ldft3d whose designs translation and pores use; without
    one they use designs of the inverse solver."""


Study = Callable[[StudyOptions], tuple[pd.DataFrame, Figure, str]]


def accuracy(options: StudyOptions) -> tuple[pd.DataFrame, Figure, str]:
    """Compare isotherms of M unrolled sweeps with converged ones."""
    parts = [unrolled.accuracy(m, options.sweeps) for m in random_matrices(options)]
    frame = pd.concat(parts, ignore_index=True)
    last = frame.query(f"sweeps == {nearest(options.sweeps, 100)}")
    errors = "; ".join(
        f"in {row['dimensions']}D {row['mean_area_percent']:.2f} % of area on average and more "
        f"than 0.01 somewhere on {100 * row['share_uptake_off']:.0f} % of {row['matrices']} "
        "matrices"
        for row in last.to_dict("records")
    )
    return frame, figures.draw_accuracy(frame), f"Error at M = {last.sweeps.iloc[0]}: {errors}."


def translation(options: StudyOptions) -> tuple[pd.DataFrame, Figure, str]:
    """Repeat 2D designs along a third axis."""
    frame = repetition.translation(designs(options, 2))
    losses = frame.groupby("matrix").area_percent.first()
    text = (
        f"2D designs built in 3D lose {losses.mean():.1f} % of area on average "
        f"({losses.min():.1f} to {losses.max():.1f} %)."
    )
    return frame, figures.draw_translation(frame), text


def memory(options: StudyOptions) -> tuple[pd.DataFrame, Figure, str]:
    """Measure memory and time of a gradient by lattice size, batch and mode."""
    limit = options.limit * 2**30
    cells = {2: (10, 20, 40), 3: (5, 10, 20)}
    frame = pd.concat(
        [cost.memory(sizes, (2, 8), dimensions=d, limit_bytes=limit, repeats=2)
         for d, sizes in cells.items()], ignore_index=True)  # fmt: skip
    at_large = frame[frame["size"] == frame.groupby("dimensions")["size"].transform("max")]
    per_site = at_large.groupby("gradient").bytes_per_site.median()
    seconds = frame.pivot(index=["dimensions", "size", "batch"], columns="gradient",
                          values="seconds")  # fmt: skip
    ratio = (seconds.unrolled / seconds.implicit).dropna()
    sizes = ", ".join(f"{gradient} {number:,.0f}" for gradient, number in per_site.items())
    times = f"unrolled takes {ratio.min():.1f} to {ratio.max():.1f} times the time of implicit"
    text = f"Bytes per site on the largest lattices: {sizes}; {times}."
    return frame, figures.draw_memory(frame, limit), text


def pores(options: StudyOptions) -> tuple[pd.DataFrame, Figure, str]:
    """Compute the pore sizes of designs."""
    kinds = (2, 3) if options.run is None else (None,)
    parts = [pore_sizes(designs(options, dimensions)) for dimensions in kinds]
    frame = pd.concat(parts, ignore_index=True)
    averages = []
    for dimensions, part in frame.groupby("dimensions"):
        size = (part.pore_size * part.share).groupby(part.matrix).sum().mean()
        porosity = 100 * part.groupby("matrix").porosity.first().mean()
        averages.append(
            f"{size:.1f} sites wide in {dimensions}D, at a porosity of {porosity:.0f} %"
        )
    text = f"On average the pores of designs are {'; '.join(averages)}."
    return frame, figures.draw_pores(frame), text


def gradient(options: StudyOptions) -> tuple[pd.DataFrame, Figure, str]:
    """Compare gradients through M unrolled sweeps with implicit ones."""
    parts = []
    for binary in random_matrices(options):
        relaxed = matrices.near_binary(binary, options.distance, options.seed)
        targets = matrices.procedural_isotherms(options.seed + 1, len(relaxed))
        parts.append(unrolled.gradient_error(relaxed, targets, options.sweeps))
    frame = pd.concat(parts, ignore_index=True)
    last = frame.query(f"sweeps == {nearest(options.sweeps, 100)}")
    errors = "; ".join(
        f"in {row['dimensions']}D the median relative error is {row['error_50']:.2g} and the "
        f"cosine below 0.9 on {100 * row['share_cosine_below_09']:.0f} % of {row['matrices']} "
        "matrices"
        for row in last.to_dict("records")
    )
    text = f"At M = {last.sweeps.iloc[0]} {errors}."
    return frame, figures.draw_gradient_error(frame), text


STUDIES: dict[str, Study] = {
    "accuracy": accuracy,
    "translation": translation,
    "memory": memory,
    "pores": pores,
    "gradient": gradient,
}


def random_matrices(options: StudyOptions) -> list[np.ndarray]:
    """Draw the square and the cubic matrices."""
    return [
        matrices.random_matrices(options.seed, options.count, options.size, 2),
        matrices.random_matrices(options.seed, *halved(options), 3),
    ]


def designs(options: StudyOptions, dimensions: int | None) -> np.ndarray:
    """Return designs of the trained run, on its own lattice, or else of the inverse solver."""
    if options.run is not None:
        designed = designs_of_run(options.run, options.count, options.seed)
        if dimensions not in (None, designed.ndim - 1):
            reason = f"its designs are {designed.ndim - 1}D; this study needs {dimensions}D ones"
            raise OptionError(StudyOptions, "run", options.run, reason)
        return designed
    if dimensions == 3:
        return matrices.designed_matrices(options.seed, *halved(options), 3)
    return matrices.designed_matrices(options.seed, options.count, options.size, 2)


def designs_of_run(folder: Path, count: int, seed: int) -> np.ndarray:
    """Design matrices with a trained network, for new isotherms that are reachable."""
    run = load(folder)
    problem = run.config.problem
    held_out = problem.held_out(jax.random.split(jax.random.key(seed), count))
    x = run.predict(held_out.inputs)
    with jax.enable_x64(x.dtype == np.float64):
        return np.asarray(problem.design(x), np.float64)  # type: ignore[attr-defined]


def halved(options: StudyOptions) -> tuple[int, int]:
    """Return the number and size of the cubic matrices, which have more sites."""
    return max(1, options.count // 2), max(2, options.size // 2)


def nearest(numbers: tuple[int, ...], wanted: int) -> int:
    """Return the element of `numbers` nearest to `wanted`."""
    return min(numbers, key=lambda number: abs(number - wanted))


def make(name: str, options: StudyOptions) -> None:
    """Run one study or all: write table and figure, print the result."""
    if name != "all" and name not in STUDIES:
        raise OptionError(object, "study", name, f"one of all, {', '.join(STUDIES)}")
    options.out.mkdir(parents=True, exist_ok=True)
    for study in STUDIES if name == "all" else (name,):
        frame, figure, text = STUDIES[study](options)
        frame.to_csv(options.out / f"{study}.csv", index=False)
        figure.savefig(options.out / f"{study}.png")
        print(f"{study}: {text}", flush=True)


def main(words: list[str]) -> int:
    """Run the studies named on the command line; return the exit code."""
    named = bool(words) and "=" not in words[0] and words[0] not in HELP
    name = words[0] if named else "all"
    return script(StudyOptions, partial(make, name), __doc__, words[1:] if named else words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
