"""Picture of a physics-informed solution: u, its error, and the residuals at the points."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALLEST = 1e-300


def draw(problem: Any, x: np.ndarray, y: np.ndarray, batch: Any) -> "Figure":
    """Draw jets x [batch, entries] with residuals y [batch, 1] at the points of a batch.

    In two dimensions u and |u - u*| are interpolated between the points; in more, u is
    drawn against u*, and the error against the distance from the centre.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.6), layout="constrained")
    points, kind = np.asarray(batch.inputs), np.asarray(batch.kind)
    u, true = np.asarray(x)[:, 0], np.asarray(batch.extra)
    inside = kind == 0
    error, size = np.abs(u - true), np.sum(true[inside] ** 2)
    relative = np.sqrt(np.sum(error[inside] ** 2) / size) if size else np.nan
    axes = figure.subplots(1, 3)
    panels = _planes if points.shape[1] == 2 else _scatters
    panels(axes, problem.coordinates, points, u, true)
    _residuals(axes[2], problem.coordinates, points, np.abs(np.asarray(y)[:, 0]))
    figure.suptitle(f"relative L2 error {relative:.2e} on {inside.sum()} points", fontsize="medium")
    return figure


def _planes(axes: Any, names: str, points: np.ndarray, u: np.ndarray, true: np.ndarray) -> None:
    """Draw u and |u - u*| over the plane."""
    from matplotlib.colors import LogNorm

    error = np.maximum(np.abs(u - true), SMALLEST)
    place = points.T
    if place.shape[1] < 3:  # no triangle
        return
    drawn = axes[0].tripcolor(*place, u, shading="gouraud", cmap="RdBu_r")
    axes[0].figure.colorbar(drawn, ax=axes[0], label="u")
    largest = error.max()
    norm = LogNorm(max(largest * 1e-4, SMALLEST), max(largest, 10 * SMALLEST))
    drawn = axes[1].tripcolor(*place, error, shading="gouraud", norm=norm)
    axes[1].figure.colorbar(drawn, ax=axes[1], label="|u - u*|")
    for panel in axes[:2]:
        _label(panel, names)


def _scatters(axes: Any, names: str, points: np.ndarray, u: np.ndarray, true: np.ndarray) -> None:
    """Draw u against u*, and the error against the distance from the centre."""
    axes[0].plot(true, u, ".", markersize=2)
    axes[0].set(xlabel="u*", ylabel="u")
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    axes[1].semilogy(distance, np.maximum(np.abs(u - true), SMALLEST), ".", markersize=2)
    axes[1].set(xlabel="distance from the centre", ylabel="|u - u*|")


def _residuals(axes: "Axes", names: str, points: np.ndarray, residual: np.ndarray) -> None:
    """Draw the weighted residuals as dots, in the plane of the first two coordinates."""
    from matplotlib.colors import LogNorm

    largest = max(float(residual.max()), 10 * SMALLEST)
    norm = LogNorm(largest * 1e-4, largest)
    dots = axes.scatter(*points[:, :2].T, c=np.maximum(residual, SMALLEST), s=3, norm=norm)
    axes.figure.colorbar(dots, ax=axes, label="|residual|")
    _label(axes, names)


def _label(axes: "Axes", names: str) -> None:
    axes.set(xlabel=names[0], ylabel=names[1])
