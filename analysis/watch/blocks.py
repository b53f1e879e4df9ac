"""Blocks: a curve drawn in a terminal with block characters."""

import numpy as np
from numpy.typing import ArrayLike

LEVELS = " ▁▂▃▄▅▆▇█"


def block_curve(x: ArrayLike, y: ArrayLike, width: int, height: int = 1) -> list[str]:
    """Return a curve as `height` rows of `width` characters, the highest row first.

    A column shows the last value at or before its x. The scale is logarithmic if all values are
    positive; the lowest value fills one eighth of a row, the highest all rows. Empty without a
    point.
    """
    x, y = _finite(x, y)
    if not len(y):
        return []
    places = np.searchsorted(x, np.linspace(x[0], x[-1], width), side="right") - 1
    values = np.log(y) if y.min() > 0 else y
    low, high = values.min(), values.max()
    share = (values[places] - low) / (high - low) if high > low else np.zeros(width)
    eighths = 1 + np.round(share * (8 * height - 1)).astype(int)
    return [
        "".join(LEVELS[level] for level in np.clip(eighths - 8 * row, 0, 8))
        for row in reversed(range(height))
    ]


def block_chart(x: ArrayLike, y: ArrayLike, width: int, height: int, label: str) -> list[str]:
    """Return a curve with its axes: the ends of both scales, and the label of the costs."""
    rows = block_curve(x, y, width, height)
    if not rows:
        return []
    x, y = _finite(x, y)
    ends = {0: f"{y.max():.3g}", height - 1: f"{y.min():.3g}"}
    margin = max(map(len, ends.values()))
    lines = [f"{ends.get(k, ''):>{margin}} │{row}" for k, row in enumerate(rows)]
    first, last = f"{x[0]:.3g}", f"{x[-1]:.3g} {label}"
    below = first + last.rjust(max(width - len(first), len(last) + 1))
    return [*lines, f"{'':{margin}} └{'─' * width}", f"{'':{margin}}  {below}"]


def _finite(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, float), np.asarray(y, float)
    finite = np.isfinite(x) & np.isfinite(y)
    return x[finite], y[finite]
