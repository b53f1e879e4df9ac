"""What the inverse step of `navier_stokes` lives from: iterations from a fluid at rest, no network.

    python runs/fluid/reverse.py [key=value ...]

Prints, and writes to reverse.md beside this file, the errors of omega, of the translation and of
the velocity after some iterations: by reverse simulation with the generator's translation, with an
estimated one, and by Gauss-Newton in all three numbers. Then how far a simulation can be reversed,
and whether the change of omega has the right sign. It takes about three minutes on one CPU core.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from physopt.analysis.words import markdown_table
from physopt.options import Options, PositiveInt
from physopt.problem import Batch
from physopt.problems.fluid.navier_stokes import NavierStokes
from physopt.problems.fluid.swirl import SIDE, Motion, centre_of_mass, centring, spin_of
from physopt.script import script

METHODS: dict[str, tuple[dict[str, str], tuple[int, ...]]] = {
    "reverse, known translation": ({}, (1, 3, 5, 8, 10, 20)),
    "reverse, estimated translation": ({"translation": "estimated"}, (1, 3, 10, 20)),
    "Gauss-Newton": ({"inverse": "gauss_newton"}, (1, 2, 3)),
}
"""Options of the inverse step, and the numbers of iterations in the table."""

TABLES = Path(__file__).resolve().with_suffix(".md")

Invert = Callable[[jax.Array, Batch], jax.Array]


@dataclass(frozen=True)
class ReverseOptions(Options):
    """Size of the study."""

    size: PositiveInt = 64
    """Cells along each side."""

    samples: PositiveInt = 48
    """Scenes."""

    out: Path = TABLES
    """File of the tables."""


def truth(batch: Batch) -> Motion:
    """Return the motions of the scenes, up to the weak random fields."""
    return Motion(jax.vmap(centring)(batch.extra["first"]), spins(batch.extra["velocity"]))


def spins(velocity: jax.Array) -> jax.Array:
    """Return omega [batch] of velocities [batch, n, n, 2]."""
    return jax.vmap(spin_of)(velocity)


def velocities(motion: Motion, n: int) -> jax.Array:
    """Return the velocities [batch, n, n, 2] of motions with a leading axis of scenes."""
    return jax.vmap(lambda motion: motion.velocity(n))(motion)


def iterations(problem: NavierStokes, batch: Batch, name: str) -> list[list[object]]:
    """Return the rows of a method: errors after some iterations, and its time."""
    options, shown_after = METHODS[name]
    invert: Invert = jax.jit(replace(problem, **options).invert)
    x, true, rows = problem.initial_unknowns(batch), truth(batch), []
    invert(x, batch).block_until_ready()
    seconds = 0.0
    for k in range(1, max(shown_after) + 1):
        start = time.perf_counter()
        x = invert(x, batch).block_until_ready()
        seconds += time.perf_counter() - start
        if k in shown_after:
            error = np.abs(spins(x) - true.spin)
            moved = np.linalg.norm(jnp.mean(x, (1, 2)) - true.translation, axis=1)
            velocity = problem.metrics(x, x, batch)["velocity_error"]
            shown = [np.median(error), np.quantile(error, 0.9), np.mean(error < 0.2)]
            shown += [np.median(moved), np.median(velocity)]
            cost = f"{seconds / k / len(batch):.2g}"
            rows.append([name, k, *(f"{number:.3f}" for number in shown), cost])
    return rows


def reversal(problem: NavierStokes, batch: Batch) -> str:
    """Describe how far a simulation and its reversal return to the start, in cells."""

    @jax.jit
    @jax.vmap
    def missed(velocity: jax.Array, first: jax.Array) -> jax.Array:
        flow = problem.flow(velocity, first)
        back = problem.reverse(flow.velocity[-1], flow.marker[-1])
        return jnp.linalg.norm(centre_of_mass(back.marker[-1]) - centre_of_mass(first))

    cells = np.asarray(missed(batch.extra["velocity"], batch.extra["first"])) * problem.size / SIDE
    return (
        f"After a simulation and its reversal the marker's centre of mass is {np.median(cells):.2f}"
        f" cells off (median; 90 %: {np.quantile(cells, 0.9):.2f})."
    )


def signs(problem: NavierStokes, batch: Batch) -> str:
    """Describe whether the change of omega is towards the true one, at +-0.5."""
    invert: Invert = jax.jit(problem.invert)
    true, right, gains = truth(batch), [], []
    for error in (-0.5, 0.5):
        moved = velocities(Motion(true.translation, true.spin + error), problem.size)
        change = np.asarray(spins(invert(moved, batch)) - spins(moved))
        right.append(int(np.sum(change * error < 0)))
        gains.append(np.median(-change / error))
    return (
        f"At errors of omega of -0.5 and 0.5 its change has the right sign in {right[0]} and"
        f" {right[1]} of {len(batch)} scenes, and is {gains[0]:.2f} and {gains[1]:.2f} of the error"
        " (median)."
    )


def make(options: ReverseOptions) -> None:
    """Print and write the tables."""
    problem = NavierStokes(size=options.size)
    batch = jax.jit(problem.sample)(jax.random.split(jax.random.key(0), options.samples))
    heads = ["inverse step", "iterations", "error of omega", "its 90 %", "share below 0.2",
             "error of u", "velocity error", "seconds"]  # fmt: skip
    rows = [row for name in METHODS for row in iterations(problem, batch, name)]
    smooth = velocities(truth(batch), options.size)
    floor = np.median(problem.metrics(smooth, smooth, batch)["velocity_error"])
    text = "\n".join(
        [
            f"Inverse steps of `navier_stokes`, {options.samples} scenes of {options.size} x"
            f" {options.size} cells, from a fluid at rest; medians over the scenes.",
            "Seconds are those of one iteration for one scene; the velocity error of the true"
            f" translation and omega, without the random fields, is {floor:.3f}.\n",
            markdown_table(heads, rows),
            reversal(problem, batch),
            signs(problem, batch),
            f"\nWritten by `python runs/fluid/reverse.py` on {jax.default_backend()}.\n",
        ]
    )
    print(text)
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(script(ReverseOptions, make, __doc__, sys.argv[1:]))
