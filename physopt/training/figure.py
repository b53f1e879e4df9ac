"""Training figure: losses and diagnostics of one run, from the rows of its curve.

The panels are the losses, the metric of the problem's target, the norms of gradient and update and,
if the rule decomposes the Jacobian, its spectrum, which helps to explain why a rule fails.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from physopt.problem import Batch, Draws, Problem, Refines, Tree
from physopt.training.film import Films, write_film

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[dict[str, Any]]


def draw_training(rows: Rows, target: tuple[str, float] | None = None) -> "Figure":
    """Draw losses, target, norms and spectrum against updates and training seconds.

    The rows are those of curve.jsonl; values reported by a rule are means over the updates since
    the previous row. target: a metric and the value at which the problem counts as solved. Panels
    without values are omitted.
    """
    from matplotlib.figure import Figure

    panels = [_losses, *_drawable(rows, target)]
    figure = Figure(figsize=(4.2 * len(panels), 4.2), layout="constrained")
    for axes, draw in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        draw(axes, rows)
        axes.set_xlabel("updates")
        axes.grid(alpha=0.3, linewidth=0.5)
        _seconds(axes, rows)
        if axes.get_legend_handles_labels()[0]:  # below the axes, where no curve is covered
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}
            axes.legend(fontsize="small", frameon=False, **place)
    figure.suptitle(_title(rows[-1]), fontsize="medium")
    return figure


def _title(row: dict[str, Any]) -> str:
    return f"{row['rule']} on {row['problem']}, seed {row['seed']}, run {row['run_id']}"


def _drawable(rows: Rows, target: tuple[str, float] | None) -> list[Any]:
    needed: list[tuple[Any, str]] = [(_norms, "update_norm"), (_spectrum, "largest")]
    if target is not None:
        needed.insert(0, (partial(_target, target=target), f"validation_{target[0]}"))
    return [draw for draw, name in needed if len(_points(rows, name)[0]) > 0]


def _seconds(axes: "Axes", rows: Rows) -> None:
    """Add an axis of training seconds, which grow with the updates but not always evenly."""
    steps, seconds = _points(rows, "t_train")
    steps, first = np.unique(steps, return_index=True)
    seconds = seconds[first]
    if len(steps) < 2 or not np.all(np.diff(seconds) > 0):
        return
    axes.set_xlim(steps[0], steps[-1])
    # Ticks beyond the last row would otherwise pile up at its place.
    steps, seconds = (np.append(a, a[-1] + 10 * (a[-1] - a[0])) for a in (steps, seconds))
    functions = partial(np.interp, xp=steps, fp=seconds), partial(np.interp, xp=seconds, fp=steps)
    axes.secondary_xaxis("top", functions=functions).set_xlabel("training time (s)")


def _target(axes: "Axes", rows: Rows, target: tuple[str, float]) -> None:
    metric, value = target
    _line(axes, rows, f"validation_{metric}", "validation", linestyle="--", color="C4")
    _line(axes, rows, metric, "test", color="C4")
    if value > 0 or axes.get_yscale() == "linear":
        axes.axhline(value, color="k", linewidth=0.8, linestyle=":", label=f"target {value:g}")
    axes.set_ylabel(metric)


def _losses(axes: "Axes", rows: Rows) -> None:
    lines = {"train_loss": ":", "validation_loss": "--", "test_loss": "-"}
    for name, style in lines.items():
        label = name.removesuffix("_loss") + (", batch mean" if name == "train_loss" else "")
        _line(axes, rows, name, label, linestyle=style, color="C0")
    axes.set_ylabel("loss")


def _norms(axes: "Axes", rows: Rows) -> None:
    _line(axes, rows, "grad_norm", "gradient", color="C1", linestyle="--")
    _line(axes, rows, "update_norm", "update", color="C2")
    axes.set_ylabel("norm")


def _spectrum(axes: "Axes", rows: Rows) -> None:
    """Draw the singular values of J = dy/dtheta: extremes of those kept, quartiles of all."""
    _line(axes, rows, "largest", "largest", color="C3")
    for i, label in ((3, "upper quartile"), (2, "median"), (1, "lower quartile")):
        shade = 0.25 + 0.2 * i
        _line(axes, rows, f"quartile_{i}", label, color="C3", alpha=shade, linestyle="--")
    _line(axes, rows, "smallest", "smallest kept", color="k", linestyle=":")
    rank = _points(rows, "rank")[1]
    axes.set_ylabel("singular values of dy/dθ")
    if len(rank):  # unknown if a rational approximation took the place of a decomposition
        axes.set_title(
            f"kept: {rank[0]:.0f} of them at first, {rank[-1]:.0f} at the end", fontsize="small"
        )


def _line(axes: "Axes", rows: Rows, name: str, label: str, **style: Any) -> None:
    steps, values = _points(rows, name)
    if not len(steps):
        return
    # A single row draws no visible line.
    axes.plot(steps, values, label=label, marker="." if len(steps) == 1 else None, **style)
    if np.all(values > 0):
        axes.set_yscale("log")


def _points(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and values of rows that have a value."""
    pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    steps, values = np.asarray(pairs, dtype=float).reshape(-1, 2).T
    return steps, values


def is_drawn(problem: Problem) -> bool:
    """Return whether a problem draws its solutions."""
    return isinstance(problem, Draws | Films)


def write_pictures(problem: Problem, x: Tree, batch: Batch, refined: Tree, folder: Path) -> None:
    """Write figure.png and film.gif of the unknowns of a batch, as far as the problem has them."""
    if isinstance(problem, Draws):
        draw_samples(problem, x, batch, refined).savefig(folder / "figure.png")
    if isinstance(problem, Films):
        write_film(folder / "film.gif", problem.film(x, batch))


def draw_samples(problem: Draws, x: Tree, batch: Batch, refined: Tree = None) -> "Figure":
    """Draw the unknowns of a batch, before and after if they were refined."""
    import jax

    if refined is not None and isinstance(problem, Refines):
        return problem.refined_figure(*jax.device_get((x, refined, batch)))
    # One program: the operations one by one would be compiled one by one.
    y = jax.jit(problem.simulate)(x, batch)  # type: ignore[attr-defined]
    return problem.figure(*jax.device_get((x, y, batch)))
