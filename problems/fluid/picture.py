"""Film strips of flows: a marker and its velocity at several times, target above result."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from physopt.problems.fluid.flow import Flow

FRAMES = 5
"""Times that are shown."""

ARROWS = 10
"""Arrows along each side."""


def draw_film_strips(target: Flow, reached: Flow, duration: float, titles: Sequence[str]) -> Figure:
    """Draw two rows for each sample, one column for each of some times.

    The flows' leaves are [batch, times, n, n, ...]; shades reach to the target's largest
    density, and the arrows of a row to its fastest speed, which its label gives.
    """
    count, times = np.shape(target.marker)[:2]
    shown = np.unique(np.linspace(0, times - 1, min(FRAMES, times)).round().astype(int))
    size = (1.55 * len(shown) + 0.5, 3.3 * count + 0.2)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    axes = figure.subplots(2 * count, len(shown), squeeze=False)
    for k, title in enumerate(titles):
        densest = float(np.max(target.marker[k]))
        for row, flow, name in ((2 * k, target, "target"), (2 * k + 1, reached, "reached")):
            scales = densest, float(np.max(np.linalg.norm(flow.velocity[k], axis=-1)))
            axes[row, 0].set_ylabel(f"{name}, speed up to {scales[1]:.2g}", fontsize=7)
            for axis, time in zip(axes[row], shown, strict=True):
                marker, velocity = (
                    np.asarray(leaf[k][time]) for leaf in (flow.marker, flow.velocity)
                )
                _draw_frame(axis, marker, velocity, *scales)
        axes[2 * k + 1, len(shown) // 2].set_title(title, fontsize=8)
    for axis, time in zip(axes[0], shown, strict=True):
        axis.set_title(f"t = {duration * time / (times - 1):g}", fontsize=8)
    return figure


def _draw_frame(
    axis: Axes, marker: np.ndarray, velocity: np.ndarray, densest: float, fastest: float
) -> None:
    """Draw a marker [n, n] as shades, and a velocity [n, n, 2] as arrows; the first axis is x."""
    n = len(marker)
    axis.imshow(
        marker.T, origin="lower", cmap="Blues", vmin=0, vmax=densest, interpolation="nearest"
    )
    step = max(1, n // ARROWS)
    cells = np.arange(step // 2, n, step)
    arrows = velocity[np.ix_(cells, cells)] / max(fastest, 1e-12) * 1.6 * step
    axis.quiver(
        *np.meshgrid(cells, cells, indexing="ij"), arrows[..., 0], arrows[..., 1],
        color="#d55e00", angles="xy", scale_units="xy", scale=1, width=0.012,
    )  # fmt: skip
    axis.set_xlim(-0.5, n - 0.5)
    axis.set_ylim(-0.5, n - 0.5)
    axis.set_xticks([])
    axis.set_yticks([])
