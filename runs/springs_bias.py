"""Bias of equilibrium propagation and coupled learning in the nudge, on the problem `springs`.

    python runs/springs_bias.py

Measures, for random stiffnesses in float64, the relative error |g - dL/dk| / |dL/dk| of equilibrium
propagation with one-sided and symmetric nudges, the cosine between coupled learning's step and
dL/dk, and the step's change from its own limit at a small nudge. Writes median and quartiles over
64 samples to runs/springs_bias.csv, and draws them in runs/springs_bias.png. It takes about half a
minute on one CPU core.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.problems.springs import Springs
from physopt.problems.springs.response import coupled_gradient, free_state, nudged_gradient

NUDGES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SAMPLES = 64
LIMIT = 1e-9
"""A nudge whose bias is below that of all others by orders of magnitude."""

QUARTILES = ("lower quartile", "median", "upper quartile")
ERRORS = {
    "one-sided": ("#d55e00", "o", 1),
    "symmetric": ("#0072b2", "s", 2),
    "coupled: change from its limit": ("#009e73", "^", None),
}
"""Colour, marker and expected order in the nudge."""

COSINE = "coupled: cosine"


def relative(estimate: jax.Array, exact: jax.Array) -> jax.Array:
    """Return |estimate - exact| / |exact|, [batch]."""
    return jnp.linalg.norm(estimate - exact, axis=1) / jnp.linalg.norm(exact, axis=1)


def measure() -> pd.DataFrame:
    """Return a row per nudge and quantity, with median and quartiles."""
    problem = Springs()
    target = problem.sample(jax.random.split(jax.random.key(0), SAMPLES)).target
    x = jax.random.normal(jax.random.key(1), (SAMPLES, len(problem.graph().ends)))
    system, stiffness = problem.system(x.dtype), problem.stiffness(x)

    def loss(stiffness: jax.Array, target: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum((system.outputs @ free_state(system, stiffness) - target) ** 2)

    # Nudge and samples are arguments: each estimate is compiled once, with no constants to fold.
    nudged = jax.jit(jax.vmap(partial(nudged_gradient, system), (0, 0, None)))
    coupled = jax.jit(jax.vmap(partial(coupled_gradient, system), (0, 0, None)))
    exact = jax.jit(jax.vmap(jax.grad(loss)))(stiffness, target).block_until_ready()
    limit = coupled(stiffness, target, LIMIT).block_until_ready()
    rows = []
    for nudge in NUDGES:
        step = coupled(stiffness, target, nudge)
        norms = jnp.linalg.norm(step, axis=1) * jnp.linalg.norm(exact, axis=1)
        values = {
            "one-sided": relative(nudged(stiffness, target, (nudge, 0.0)), exact),
            "symmetric": relative(nudged(stiffness, target, (nudge, -nudge)), exact),
            "coupled: change from its limit": relative(step, limit),
            COSINE: jnp.sum(step * exact, axis=1) / norms,
        }
        for quantity, sample in values.items():
            parts = dict(zip(QUARTILES, np.quantile(sample, (0.25, 0.5, 0.75)), strict=True))
            rows.append({"nudge": nudge, "quantity": quantity, **parts})
    return pd.DataFrame(rows)


def draw(numbers: pd.DataFrame) -> Figure:
    """Draw errors and cosine against the nudge."""
    figure = Figure(figsize=(8.4, 3.6), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    for quantity, (colour, marker, order) in ERRORS.items():
        name = "equilibrium propagation, " + quantity if order else quantity
        rows = _draw_quantity(left, numbers, quantity, colour, marker, name)
        if order:
            nudge, error = rows["nudge"].to_numpy(), rows["median"].to_numpy()
            left.plot(nudge, error[0] * (nudge / nudge[0]) ** order, ":", color=colour, lw=1)
            place = nudge[1], error[1] * (4 if order == 1 else 0.15)
            left.annotate(f"order {order}", place, color=colour, fontsize=8)
    left.set(yscale="log", ylabel="relative error of the gradient")
    left.legend(fontsize=7, loc="lower right", frameon=False)
    _draw_quantity(right, numbers, COSINE, "#009e73", "^", "coupled learning")
    right.set(ylim=(0, 1.05), ylabel="cosine with the exact gradient")
    right.axhline(1, color="black", lw=0.6)
    right.legend(fontsize=7, loc="lower right", frameon=False)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="nudge")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def _draw_quantity(
    axes: Axes, numbers: pd.DataFrame, quantity: str, colour: str, marker: str, name: str
) -> pd.DataFrame:
    rows = numbers[numbers["quantity"] == quantity]
    low, median, high = (rows[part] for part in QUARTILES)
    axes.fill_between(rows["nudge"], low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(rows["nudge"], median, color=colour, marker=marker, ms=4, lw=1.2, label=name)
    return rows


def main() -> None:
    """Measure, write and draw."""
    with jax.enable_x64(True):
        numbers = measure()
    path = Path(__file__)
    numbers.to_csv(path.with_suffix(".csv"), index=False, float_format="%.3g")
    draw(numbers).savefig(path.with_suffix(".png"))
    print(numbers.pivot(index="nudge", columns="quantity", values="median").to_string())


if __name__ == "__main__":
    main()
