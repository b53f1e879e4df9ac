"""Test isotherms by their sinuosity, and how well random matrices cover them.

    python runs/ldft/sinuosity.py [key=value ...]

Compares two test sets of ldft2d: isotherms of random matrices, and of matrices from a particle
swarm (problem.optimiser=swarm). The sinuosity of an isotherm is the length of the curve from
(h, y) = (0, 0) to (1, y(1)) over the distance of its ends: 1 for a straight line, at most sqrt(2)
for a monotone curve. This definition is our own: the source plots its errors against sinuosity
without stating one. Writes sinuosity.csv, a row per isotherm with the area error of the nearest
of `bank` random matrices, and sinuosity.png.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from physopt.options import Options, PositiveInt
from physopt.problems.ldft.named import LDFT2D
from physopt.script import script

SETS = {"random": {"optimised_fraction": 0.0},
        "swarm": {"optimised_fraction": 1.0, "optimiser": "swarm"}}  # fmt: skip


@dataclass(frozen=True)
class SinuosityOptions(Options):
    """Inputs; the defaults take about two minutes on one core."""

    out: Path = Path("runs/results/sinuosity")
    """Folder of the results."""

    size: PositiveInt = 20
    """Sites along each side of the square lattice."""

    count: PositiveInt = 32
    """Isotherms of each set."""

    bank: PositiveInt = 1000
    """Random matrices of which the nearest is taken."""

    seed: int = 0
    """Seed of both sets and of the bank."""


def sinuosity(curves: np.ndarray) -> np.ndarray:
    """Return the sinuosity of isotherms [batch, points] at h = 1/points ... 1: [batch]."""
    curves = np.pad(np.asarray(curves, float), ((0, 0), (1, 0)))
    steps = np.hypot(np.diff(curves, axis=1), 1 / (curves.shape[1] - 1))
    return steps.sum(axis=1) / np.hypot(curves[:, -1], 1)


def measure(options: SinuosityOptions) -> None:
    """Draw both sets and the bank, write the table and the figure."""
    drawn, of_bank = jax.random.split(jax.random.key(options.seed))
    bank_keys = jax.random.split(of_bank, options.bank)
    problem = LDFT2D(size=options.size, optimised_fraction=0.0)
    bank = np.asarray(jax.jit(lambda keys: problem.isotherm(problem.held_out_matrices(keys)))(
        bank_keys))  # fmt: skip
    frames = []
    for name, choice in SETS.items():
        of_set = problem.replace(**choice)
        keys = jax.random.split(drawn, options.count)
        solve = jax.jit(lambda keys, of_set=of_set: of_set.isotherm(of_set.held_out_matrices(keys)))
        curves = np.asarray(solve(jnp.asarray(keys)))
        error = 100 * np.abs(curves[:, None] - bank).mean(axis=2).min(axis=1)
        columns = {"sinuosity": sinuosity(curves), "nearest_area_percent": error}
        frames.append(pd.DataFrame({"test_set": name, **columns}).round(4))
        print(f"{name}: mean sinuosity {frames[-1].sinuosity.mean():.3f}, nearest of {options.bank}"
              f" {error.mean():.2f} %", flush=True)  # fmt: skip
    frame = pd.concat(frames, ignore_index=True)
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out / "sinuosity.csv", index=False)
    draw(frame, options.bank).savefig(options.out / "sinuosity.png")


def draw(frame: pd.DataFrame, bank: int) -> Figure:
    """Draw the area error of the nearest matrix against the sinuosity of the isotherm."""
    figure = Figure(figsize=(4.5, 3.4), dpi=110, layout="constrained")
    axis = figure.subplots()
    for (name, part), marker in zip(frame.groupby("test_set"), "os", strict=False):
        axis.plot(part.sinuosity, part.nearest_area_percent, marker, ms=4, label=name)
    axis.set_xlabel("sinuosity of the isotherm")
    axis.set_ylabel(f"area error of the nearest of {bank} (%)")
    axis.set_yscale("log")
    axis.legend(frameon=False)
    return figure


if __name__ == "__main__":
    sys.exit(script(SinuosityOptions, measure, __doc__, sys.argv[1:]))
