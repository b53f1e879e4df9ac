"""Training figure: losses and diagnostics of one run, from the rows of its curve.

The panels are the losses, the norms of gradient and update and, if the rule decomposes the
Jacobian, its spectrum, which helps to explain why a rule fails on a problem.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from physopt.problem import Batch, Draws, Refines, Tree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[dict[str, Any]]


def draw_training(rows: Rows, title: str) -> "Figure":
    """Draw losses, norms and spectrum against the updates; panels without values are omitted.

    The rows are those of curve.jsonl; values reported by a rule are means over the updates since
    the previous row.
    """
    from matplotlib.figure import Figure

    panels = [_losses, *_drawable(rows)]
    figure = Figure(figsize=(4.2 * len(panels), 3.4), layout="constrained")
    for axes, draw in zip(np.ravel(figure.subplots(1, len(panels))), panels, strict=True):
        draw(axes, rows)
        axes.set_xlabel("updates")
        axes.grid(alpha=0.3, linewidth=0.5)
    figure.suptitle(title, fontsize="medium")
    return figure


def _drawable(rows: Rows) -> list[Any]:
    needed = {_norms: "update_norm", _spectrum: "largest"}
    return [draw for draw, name in needed.items() if len(_points(rows, name)[0]) > 0]


def _losses(axes: "Axes", rows: Rows) -> None:
    lines = {"train_loss": ":", "validation_loss": "--", "test_loss": "-"}
    for name, style in lines.items():
        label = name.removesuffix("_loss") + (", batch mean" if name == "train_loss" else "")
        _line(axes, rows, name, label, linestyle=style, color="C0")
    axes.set_ylabel("loss")
    _legend(axes)


def _norms(axes: "Axes", rows: Rows) -> None:
    _line(axes, rows, "grad_norm", "gradient", color="C1", linestyle="--")
    _line(axes, rows, "update_norm", "update", color="C2")
    axes.set_ylabel("norm")
    _legend(axes)


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
    _legend(axes)


def _legend(axes: "Axes") -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", frameon=False)


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


def draw_samples(problem: Draws, x: Tree, batch: Batch, refined: Tree = None) -> "Figure":
    """Draw the unknowns of a batch, before and after if they were refined."""
    import jax

    if refined is not None and isinstance(problem, Refines):
        return problem.refined_figure(*jax.device_get((x, refined, batch)))
    y = problem.simulate(x, batch)  # type: ignore[attr-defined]
    return problem.figure(*jax.device_get((x, y, batch)))
