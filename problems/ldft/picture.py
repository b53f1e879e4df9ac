"""Picture of designs: each matrix above its wanted and its achieved isotherm."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

SOLID_AND_PORE = ListedColormap(["#4a4a4a", "#f2efe6"])
WANTED, ACHIEVED = "#222222", "#0072b2"


def draw_designs(matrices: ArrayLike, achieved: ArrayLike, wanted: ArrayLike) -> Figure:
    """Draw matrices [batch, n, n] or [batch, n, n, n] over their isotherms [batch, points].

    Of a cubic lattice the layers are shown side by side.
    """
    matrices, achieved, wanted = (np.asarray(a) for a in (matrices, achieved, wanted))
    count = len(matrices)
    figure = Figure(figsize=(2.6 * count, 5.2), dpi=140, layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    humidity = np.linspace(0, 100, achieved.shape[1] + 1)
    for top, bottom, matrix, y, target in zip(*axes, matrices, achieved, wanted, strict=True):
        top.imshow(_flat(matrix), cmap=SOLID_AND_PORE, vmin=0, vmax=1, interpolation="nearest")
        top.set_xticks([])
        top.set_yticks([])
        top.set_title(f"porosity {100 * matrix.mean():.0f} %", fontsize=9)
        bottom.plot(humidity, np.insert(target, 0, 0), color=WANTED, lw=1.2, ls="--")
        bottom.plot(humidity, np.insert(y, 0, 0), color=ACHIEVED, lw=1.6)
        bottom.set_title(f"area error {100 * np.mean(np.abs(y - target)):.2f} %", fontsize=9)
        bottom.set_xlabel("relative humidity (%)", fontsize=9)
        bottom.set_xlim(0, 100)
        bottom.set_ylim(-0.03, 1.03)
        bottom.tick_params(labelsize=8)
    axes[0, 0].set_ylabel("matrix: pore light, solid dark", fontsize=9)
    axes[1, 0].set_ylabel("water per pore volume", fontsize=9)
    axes[1, 0].legend(["wanted", "achieved"], fontsize=8, loc="upper left", frameon=False)
    return figure


def _flat(matrix: np.ndarray) -> np.ndarray:
    """Lay the layers of a cube side by side, with a gap between them."""
    if matrix.ndim == 2:
        return matrix
    layers, size = len(matrix), matrix.shape[1]
    columns = int(np.ceil(np.sqrt(layers)))
    rows = -(-layers // columns)
    sheet = np.full((rows * (size + 1) - 1, columns * (size + 1) - 1), np.nan)
    for k, layer in enumerate(matrix):
        row, column = divmod(k, columns)
        top, left = row * (size + 1), column * (size + 1)
        sheet[top : top + size, left : left + size] = layer
    return sheet
