"""Figure of spring networks before and after: stiffness as line width, strain as colour."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from physopt.problems.springs.graph import Graph

SOURCE, TARGET, WANTED, ACHIEVED = "#d55e00", "#009e73", "#222222", "#0072b2"
STRAINS = "coolwarm"


def draw_networks(
    graph: Graph,
    stiffness: Sequence[jax.Array],
    strain: Sequence[jax.Array],
    outputs: Sequence[ArrayLike],
    names: Sequence[str],
    largest: float,
    ports: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> Figure:
    """Draw one network per column: equal springs, the designed springs, and the outputs.

    stiffness and strain [batch, bonds]: before and after; outputs [batch, |y|]: before, after and
    wanted, with a name for each component. largest: strain of the darkest colours.
    ports: bonds that are marked, sources and targets.
    """
    before, after, wanted = (np.asarray(a, np.float64) for a in outputs)
    count = len(wanted)
    figure = Figure(figsize=(2.5 * count + 0.8, 6.4), dpi=130, layout="constrained")
    axes = figure.subplots(3, count, squeeze=False, height_ratios=[1, 1, 0.7])
    for row, (widths, colours) in enumerate(zip(stiffness, strain, strict=True)):
        for k, axis in enumerate(axes[row]):
            _draw_springs(
                axis, graph, np.asarray(widths[k]), np.asarray(colours[k]), largest, ports
            )
    for k, axis in enumerate(axes[2]):
        columns = {"achieved": after[k], "target": wanted[k], "equal springs": before[k]}
        _draw_outputs(axis, columns, names)
    for axis, name in zip(axes[:, 0], ("equal springs", "designed springs", "output"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    scale = ScalarMappable(Normalize(-largest, largest), STRAINS)
    bar = figure.colorbar(scale, ax=axes[:2], shrink=0.6, aspect=30)
    bar.set_label("strain of a bond", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.legend(*axes[2, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def draw_structures(
    graph: Graph, inputs: ArrayLike, outputs: Mapping[str, ArrayLike], names: Sequence[str]
) -> Figure:
    """Draw one structure per column, and its outputs.

    inputs [batch, bonds, 3]: vectors and ln k. outputs: label -> [batch, |y|], those of the
    network, the true ones, and a baseline.
    """
    structures = np.asarray(inputs, np.float64)
    values = {label: np.asarray(a, np.float64) for label, a in outputs.items()}
    figure = Figure(figsize=(2.5 * len(structures) + 0.4, 4.6), dpi=130, layout="constrained")
    axes = figure.subplots(2, len(structures), squeeze=False, height_ratios=[1, 0.8])
    from_vectors = np.linalg.pinv(graph.incidence())
    for k, structure in enumerate(structures):
        vectors = structure[:, :2]
        moved = graph.positions + from_vectors @ (vectors - graph.vectors)
        drawn = graph._replace(positions=moved, vectors=vectors)
        still = np.zeros(len(vectors))
        _draw_springs(axes[0, k], drawn, np.exp(structure[:, 2]), still, 1.0, ((), ()))
        _draw_outputs(axes[1, k], {label: a[k] for label, a in values.items()}, names)
    for axis, name in zip(axes[:, 0], ("structure", "elastic tensor"), strict=True):
        axis.set_ylabel(name, fontsize=8)
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _draw_springs(
    axis: Axes,
    graph: Graph,
    stiffness: np.ndarray,
    strain: np.ndarray,
    largest: float,
    ports: tuple[Sequence[int], Sequence[int]],
) -> None:
    """Draw bonds with a width that grows with the root of the stiffness, and mark the ports."""
    start = graph.positions[graph.ends[:, 0]]
    lines = np.stack([start, start + graph.vectors], axis=1)
    for bonds, colour in zip(ports, (SOURCE, TARGET), strict=True):
        axis.add_collection(LineCollection(list(lines[list(bonds)]), colors=colour, linewidths=8,
                                           alpha=0.35, capstyle="round"))  # fmt: skip
    drawn = LineCollection(list(lines), linewidths=1.3 * np.sqrt(stiffness), cmap=STRAINS,
                           norm=Normalize(-largest, largest))  # fmt: skip
    drawn.set_array(strain)
    axis.add_collection(drawn)
    axis.set_aspect("equal")
    axis.autoscale_view()
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _draw_outputs(axis: Axes, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """Draw outputs [|y|] by label: the result, the target, and one to compare with."""
    place = np.arange(len(names))
    (result, after), (target, wanted), (other, before) = outputs.items()
    axis.bar(place, after, width=0.6, color=ACHIEVED, alpha=0.7, label=result)
    axis.plot(place, wanted, ls="", marker="_", ms=14, mew=2, color=WANTED, label=target)
    axis.plot(place, before, ls="", marker="o", ms=3, color=SOURCE, label=other)
    axis.axhline(0, color="black", lw=0.6)
    error = np.linalg.norm(after - wanted) / np.linalg.norm(wanted)
    axis.set_title(f"error {100 * error:.1f} %", fontsize=9)
    axis.set_xticks(place, names)
    axis.tick_params(labelsize=7)
