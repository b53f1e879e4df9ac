"""Pareto fronts of designs: area error against porosity, and against the width of hysteresis.

    python runs/ldft/pareto.py [key=value ...]

For each target isotherm of adsorption, Adam minimises the weighted sum

    mean_h sqrt((y - y*)^2 + 1e-4) + w f(matrix)

from one start for each weight w, with f the porosity, sum_i eta_i / N^2, or the width of the loop,
mean_h (y_desorption - y_adsorption). The front holds the non-dominated of all rounded matrices
that the runs pass through. Each target and objective is a piece of work that is kept in `out`;
the same command computes those that are missing, then writes fronts.csv, table.md and pareto.png.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
from matplotlib.figure import Figure

from physopt.analysis.words import markdown_table
from physopt.options import NonNegativeFloat, Options, PositiveFloat, PositiveInt
from physopt.problems.ldft.inverse import best_offset
from physopt.problems.ldft.isotherm import isotherm
from physopt.problems.ldft.losses import SMOOTHING
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.ldft.relaxation import ROUNDED_FROM, binary, relax
from physopt.script import script

OFFSETS = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""Constants that are tried as the mean of the first unknowns."""

LIMITS = (1.0, 2.0, 5.0)
"""Area errors, in per cent, at which the table gives the least value of the second objective."""


@dataclass(frozen=True)
class ParetoOptions(Options):
    """Inputs; the defaults take about five minutes on one core."""

    out: Path = Path("runs/results/pareto")
    """Folder of the pieces and of the results."""

    size: PositiveInt = 20
    """Sites along each side of the square lattice."""

    points: PositiveInt = 40
    """Humidities of each branch."""

    targets: PositiveInt = 4
    """Target isotherms, the first held-out ones of a seed."""

    weights: tuple[NonNegativeFloat, ...] = (0.0, 0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6)
    """Weights w of the second objective."""

    steps: PositiveInt = 300
    """Steps of Adam; the matrix is rounded from 60 % of them on."""

    learning_rate: PositiveFloat = 0.2
    """Step length of Adam."""

    seed: int = 0
    """Seed of the targets and of the starts."""


Objective = Callable[[jax.Array, jax.Array], jax.Array]
"""Pore fractions [batch, n, n] and isotherms [batch, length] -> f [batch]."""


def porosity(eta: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean pore fraction, [batch]."""
    return jnp.mean(eta, axis=(1, 2))


def width(eta: jax.Array, y: jax.Array) -> jax.Array:
    """Return mean_h (y_desorption - y_adsorption), [batch]; the branches end at h = 0 and h = 1."""
    rising, falling = y[:, : y.shape[1] // 2], y[:, y.shape[1] // 2 :]
    return jnp.mean(falling[:, -2::-1] - rising[:, :-1], axis=1)


OBJECTIVES: dict[str, tuple[Objective, bool, str]] = {
    "porosity": (porosity, False, "porosity"),
    "width": (width, True, "mean width of hysteresis"),
}
"""The objective, whether it needs desorption, and its name on an axis."""


def passed_designs(name: str, options: ParetoOptions, target: jax.Array) -> pd.DataFrame:
    """Return area errors in per cent and f of all rounded matrices on the way, weight by weight."""
    objective, desorption, _ = OBJECTIVES[name]
    weights = jnp.asarray(options.weights)
    solve = partial(isotherm, dimensions=2, spacing=1 / options.points, desorption=desorption,
                    tolerance=1e-6, linear_tolerance=1e-3)  # fmt: skip
    adam = optax.adam(options.learning_rate)
    count, points = len(weights), options.points
    targets = jnp.broadcast_to(target, (count, points))

    def measured(x: jax.Array, eta: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        y = solve(eta)
        residual, value = y[:, :points] - targets, objective(eta, y)
        misfit = jnp.mean(jnp.sqrt(residual**2 + SMOOTHING), axis=1)
        return jnp.sum(misfit + weights * value), (jnp.mean(jnp.abs(residual), axis=1), value)

    def step(carry: tuple, index: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        x, state = carry
        progress = jnp.full(count, index / options.steps)

        def loss(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            return measured(x, relax(x, progress, "annealed", 2.0))

        slope, errors = jax.grad(loss, has_aux=True)(x)
        update, state = adam.update(slope, state)
        return (optax.apply_updates(x, update), state), errors

    @jax.jit
    def run(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        noise = jax.random.normal(key, (options.size, options.size))
        start = jnp.broadcast_to(noise, (count, *noise.shape))
        start = best_offset(start, targets, lambda eta: solve(eta)[:, :points], OFFSETS)
        end, (error, value) = jax.lax.scan(
            step, (start, adam.init(start)), jnp.arange(options.steps)
        )
        last = measured(end[0], binary(end[0]))[1]
        rounded = int(np.ceil(ROUNDED_FROM * options.steps))
        return (jnp.concatenate([error[rounded:], last[0][None]]),
                jnp.concatenate([value[rounded:], last[1][None]]))  # fmt: skip

    error, value = run(jax.random.key(options.seed + 1))
    kept = np.broadcast_to(options.weights, error.shape)
    columns = {"weight": kept, "area_percent": 100 * np.asarray(error), "value": np.asarray(value)}
    return pd.DataFrame({key: column.ravel() for key, column in columns.items()})


def non_dominated(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the indices of points that no other point matches or betters in both: [front].

    They are sorted by the first objective. Of equal points one is kept.
    """
    order = np.lexsort((second, first))
    lowest = np.minimum.accumulate(second[order])
    improves = np.concatenate([[True], second[order][1:] < lowest[:-1]])
    return order[improves]


def front(name: str, options: ParetoOptions, index: int, target: jax.Array) -> pd.DataFrame:
    """Return the front of one target, from its file if it was computed before."""
    file = options.out / "pieces" / f"{name}_{index}.csv"
    if not file.exists():
        passed = passed_designs(name, options, target)
        best = non_dominated(passed.area_percent.to_numpy(), passed.value.to_numpy())
        frame = passed.iloc[best].round(5)
        frame.insert(0, "target", index)
        frame.insert(0, "objective", name)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial_file = file.with_suffix(".part")
        frame.to_csv(partial_file, index=False)
        partial_file.rename(file)
        print(f"{name}, target {index}: {len(frame)} designs", flush=True)
    return pd.read_csv(file)


def summary(fronts: pd.DataFrame) -> str:
    """Return a table: the least value within each limit of the area error."""
    heads = ["objective", "target", "least area error, %", "its value"]
    heads += [f"least value within {limit:g} %" for limit in LIMITS]
    lines = []
    for (name, index), part in fronts.groupby(["objective", "target"]):
        best = part.loc[part.area_percent.idxmin()]
        within = [part[part.area_percent <= limit].value.min() for limit in LIMITS]
        cells = ["–" if np.isnan(value) else f"{abs(value):.3f}" for value in within]
        lines.append([name, index, f"{best.area_percent:.2f}", f"{abs(best.value):.3f}", *cells])
    return markdown_table(heads, lines)


def draw(fronts: pd.DataFrame, targets: np.ndarray) -> Figure:
    """Draw the target isotherms, and the front of each in the same colour."""
    figure = Figure(figsize=(10.5, 3.4), dpi=110, layout="constrained")
    axes = figure.subplots(1, 1 + len(OBJECTIVES))
    humidity = np.linspace(0, 100, targets.shape[1] + 1)
    colors = [f"C{k % 10}" for k in range(len(targets))]
    for target, color in zip(targets, colors, strict=True):
        axes[0].plot(humidity, np.insert(target, 0, 0), color=color)
    axes[0].set_xlabel("relative humidity (%)")
    axes[0].set_ylabel("target uptake per pore volume")
    for axis, (name, (_, _, label)) in zip(axes[1:], OBJECTIVES.items(), strict=True):
        for index, part in fronts[fronts.objective == name].groupby("target"):
            axis.plot(part.area_percent, part.value, ".-", color=colors[index], ms=4, lw=1,
                      drawstyle="steps-post")  # fmt: skip
        axis.set_xlabel("area error (%)")
        axis.set_ylabel(label)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
    return figure


def make(options: ParetoOptions) -> None:
    """Compute the missing pieces and write the results."""
    problem = LDFT2D(size=options.size, points=options.points)
    keys = jax.random.split(jax.random.key(options.seed), options.targets)
    targets = jax.jit(problem.held_out)(keys).target
    parts = [
        front(name, options, index, target)
        for name in OBJECTIVES
        for index, target in enumerate(targets)
    ]
    fronts = pd.concat(parts, ignore_index=True)
    fronts.to_csv(options.out / "fronts.csv", index=False)
    (options.out / "table.md").write_text(summary(fronts), encoding="utf-8")
    draw(fronts, np.asarray(targets)).savefig(options.out / "pareto.png")
    print(summary(fronts))


if __name__ == "__main__":
    sys.exit(script(ParetoOptions, make, __doc__, sys.argv[1:]))
