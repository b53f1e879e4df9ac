"""Figure of designs: matrices, water densities, and target and achieved isotherms."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import ArrayLike

SOLID = "#4a4a4a"
TARGET, ACHIEVED, DESORPTION, BEFORE = "#222222", "#0072b2", "#d55e00", "#999999"
SOLID_AND_PORE = ListedColormap([SOLID, "#f2efe6"])
WATER = LinearSegmentedColormap.from_list("water", ["#f2efe6", "#9ecae1", "#08519c"])
SHOWN = (0.25, 0.5, 0.75)


def draw_designs(
    matrices: ArrayLike,
    density: ArrayLike,
    achieved: ArrayLike,
    target: ArrayLike,
    points: int,
    before: tuple[ArrayLike, ArrayLike] | None = None,
    measured: tuple[ArrayLike, ...] = (),
) -> Figure:
    """Draw one design per column: matrix, water at 25, 50 and 75 % humidity, isotherms.

    matrices [batch, n, n] or [batch, n, n, n], with layers side by side; density
    [batch, length, *lattice]; achieved and target [batch, length], where a desorption branch
    follows the `points` of adsorption. before: matrices and isotherms of the network alone, if the
    designs are refined; a first row shows these matrices. measured: humidities and contents
    [batch, n] of the points behind the target isotherms, if they are a user's.
    """
    matrices, density, achieved, target = (
        np.asarray(a, np.float64) for a in (matrices, density, achieved, target)
    )
    unrefined = [np.asarray(a, np.float64) for a in before or ()]
    extra = 1 if unrefined else 0
    count, rows = len(matrices), 2 + len(SHOWN) + extra
    height, width = _flat(matrices[0]).shape
    heights = [height / width] * (rows - 1) + [1.1]
    size = (2.3 * count + 0.6, 2.0 * sum(heights) + 1.2)
    figure = Figure(figsize=size, dpi=130, layout=ConstrainedLayoutEngine(hspace=0.04))
    axes = figure.subplots(rows, count, squeeze=False, height_ratios=heights)
    for k, column in enumerate(axes.T):
        if unrefined:
            _draw_matrix(column[0], unrefined[0][k], f"error {_area(unrefined[1][k], target[k])}")
            flips = f"{np.sum(unrefined[0][k] != matrices[k])} sites flipped"
            _draw_matrix(column[1], matrices[k], flips)
        else:
            _draw_matrix(column[0], matrices[k], f"porosity {100 * matrices[k].mean():.0f} %")
        for axis, humidity in zip(column[1 + extra : -1], SHOWN, strict=True):
            _draw_water(axis, matrices[k], density[k][round(humidity * points) - 1])
        if unrefined:
            _draw_before(column[-1], unrefined[1][k], points)
        _draw_isotherms(column[-1], achieved[k], target[k], points)
        if measured:
            humidity, content = (np.asarray(a, np.float64)[k] for a in measured)
            column[-1].plot(100 * humidity, content, ".", color=TARGET, ms=3, label="measured")
    _label_rows(list(axes[:, 0]), bool(unrefined))
    figure.legend(*axes[-1, 0].get_legend_handles_labels(), loc="outside lower center",
                  ncols=2 if count == 1 else 3, fontsize=8, frameon=False)  # fmt: skip
    return figure


def _label_rows(axes: Sequence[Axes], refined: bool) -> None:
    names = ["network alone", "refined"] if refined else ["solid (dark)"]
    names += [f"water, {100 * humidity:.0f} %" for humidity in SHOWN]
    for axis, name in zip(axes, [*names, "water per pore volume"], strict=True):
        axis.set_ylabel(name, fontsize=8)


def _area(y: np.ndarray, target: np.ndarray) -> str:
    return f"{100 * np.mean(np.abs(y - target)):.2f} %"


def _draw_matrix(axis: Axes, matrix: np.ndarray, title: str) -> None:
    _draw_solid(axis, matrix)
    axis.set_title(title, fontsize=9)


def _draw_water(axis: Axes, matrix: np.ndarray, density: np.ndarray) -> None:
    _draw_solid(axis, matrix)
    shown = np.where(_flat(matrix) == 0, np.nan, _flat(density))
    axis.imshow(shown, cmap=WATER, vmin=0, vmax=1, interpolation="nearest")


def _draw_solid(axis: Axes, matrix: np.ndarray) -> None:
    axis.imshow(_flat(matrix), cmap=SOLID_AND_PORE, vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    if matrix.ndim == 3:  # each layer is visible as a square
        axis.spines[:].set_visible(False)


def _draw_before(axis: Axes, y: np.ndarray, points: int) -> None:
    """Draw the isotherm of the network's matrix, both branches in one colour."""
    humidity = np.linspace(0, 100, points + 1)
    axis.plot(humidity, np.insert(y[:points], 0, 0), color=BEFORE, lw=1, label="network alone")
    if len(y) > points:
        axis.plot(humidity[::-1], y[points - 1 :], color=BEFORE, lw=1)


def _draw_isotherms(axis: Axes, y: np.ndarray, target: np.ndarray, points: int) -> None:
    humidity = np.linspace(0, 100, points + 1)
    axis.plot(humidity, np.insert(target[:points], 0, 0), color=TARGET, lw=1.2, ls="--",
              label="target")  # fmt: skip
    axis.plot(humidity, np.insert(y[:points], 0, 0), color=ACHIEVED, lw=1.6, label="achieved")
    if len(y) > points:  # desorption starts at the end of adsorption
        back = humidity[::-1]
        axis.plot(back, target[points - 1 :], color=TARGET, lw=1.2, ls=":",
                  label="target, desorption")  # fmt: skip
        axis.plot(back, y[points - 1 :], color=DESORPTION, lw=1.6, label="achieved, desorption")
    axis.set_title(f"area error {_area(y, target)}", fontsize=9)
    axis.set_xlabel("relative humidity (%)", fontsize=8)
    axis.set_xlim(0, 100)
    axis.set_ylim(-0.03, 1.03)
    axis.tick_params(labelsize=7)


def draw_pairs(
    matrices: ArrayLike,
    curves: Sequence[ArrayLike],
    derived: Sequence[ArrayLike],
    grids: tuple[np.ndarray, np.ndarray],
    captions: Sequence[str],
    labels: tuple[tuple[str, str], str, str, str],
) -> Figure:
    """Draw one design per column: matrix, two isotherms, the quantity that follows from both.

    matrices [batch, n, n] or [batch, n, n, n]; curves are the achieved and the target isotherms
    [batch, 2, points]; derived, those of the quantity [batch, n]. grids are their abscissas;
    labels: of both isotherms, and of the uptake, the quantity and its abscissa.
    """
    matrices = np.asarray(matrices, np.float64)
    achieved, target = (np.asarray(a, np.float64) for a in curves)
    names, uptake, quantity, abscissa = labels
    height, width = _flat(matrices[0]).shape
    heights = [height / width, 1.0, 0.8]
    size = (2.3 * len(matrices) + 0.6, 2.0 * sum(heights) + 1.4)
    figure = Figure(figsize=size, dpi=130, layout="constrained")
    axes = figure.subplots(3, len(matrices), squeeze=False, height_ratios=heights)
    for k, (matrix, isotherms, values) in enumerate(axes.T):
        _draw_matrix(matrix, matrices[k], captions[k])
        for curve, color, name in zip(range(2), (ACHIEVED, DESORPTION), names, strict=True):
            isotherms.plot(grids[0], achieved[k, curve], color=color, lw=1.6, label=name)
            isotherms.plot(grids[0], target[k, curve], color=color, lw=1.2, ls="--",
                           label=f"{name}, target")  # fmt: skip
        isotherms.set_title(f"area error {_area(achieved[k], target[k])}", fontsize=9)
        isotherms.set_xlabel("relative pressure", fontsize=8)
        values.plot(grids[1], np.asarray(derived[0])[k], color=TARGET, lw=1.6)
        values.plot(grids[1], np.asarray(derived[1])[k], color=TARGET, lw=1.2, ls="--")
        values.set_xlabel(abscissa, fontsize=8)
        for axis in (isotherms, values):
            axis.set_xlim(0, 1)
            axis.tick_params(labelsize=7)
    for axis, name in zip(axes[:, 0], ("solid (dark)", uptake, quantity), strict=True):
        axis.set_ylabel(name, fontsize=8)
    figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2,
                  fontsize=8, frameon=False)  # fmt: skip
    return figure


def _flat(matrix: np.ndarray) -> np.ndarray:
    """Lay the layers of a cube side by side, with a gap between them."""
    if matrix.ndim == 2:
        return matrix
    layers, size = len(matrix), matrix.shape[1]
    square = int(np.ceil(np.sqrt(layers)))
    columns = min(range(square, 2 * square), key=lambda wide: (-layers % wide, wide))
    rows = -(-layers // columns)
    sheet = np.full((rows * (size + 1) - 1, columns * (size + 1) - 1), np.nan)
    for k, layer in enumerate(matrix):
        row, column = divmod(k, columns)
        top, left = row * (size + 1), column * (size + 1)
        sheet[top : top + size, left : left + size] = layer
    return sheet
