"""Film: an animated GIF of fields that change in time, several of them side by side."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from numpy.typing import ArrayLike

from physopt.problem import Batch, Tree

LEAST_SIDE = 96
"""Fields are enlarged to at least this number of pixels."""

GAP = 4
MARGIN = 56
"""Pixels to the left of the fields, for the names of rows."""

FRAME, LAST = 120, 1000
"""Milliseconds of a frame, and of the last one."""

WHITE, BLACK = 255, 254


@runtime_checkable
class Films(Protocol):
    """A problem whose solutions evolve in time; a run writes them as film.gif."""

    def film(self, x: Tree, batch: Batch) -> Mapping[str, jax.Array]:
        """Return fields between 0 and 1 of the first samples, {name: [batch, times, n, m]}."""
        ...


def write_film(path: Path, rows: Mapping[str, ArrayLike]) -> None:
    """Write fields {name: [batch, times, n, m]} as an animated GIF: a row of fields for each name.

    Values from 0 to 1 have the colours of viridis, others those of 0 or 1. As in `imshow` with
    origin="lower" of the transpose, the first axis points right and the second up.
    """
    from matplotlib import colormaps
    from PIL import Image, ImageDraw

    fields = np.stack([np.asarray(row, np.float32) for row in rows.values()])
    shades = np.round(253 * np.clip(np.nan_to_num(fields), 0, 1)).astype(np.uint8)
    sheets = _sheets(np.flip(np.swapaxes(shades, -1, -2), axis=-2))
    colours = colormaps["viridis"](np.linspace(0, 1, 254), bytes=True)[:, :3]
    palette = np.concatenate([colours, [[0, 0, 0], [255, 255, 255]]]).astype(np.uint8)
    images = []
    for sheet in sheets:
        image = Image.fromarray(sheet, "P")
        image.putpalette(palette.tobytes())
        draw = ImageDraw.Draw(image)
        for k, name in enumerate(rows):
            draw.text((4, (k + 0.5) * len(sheet) / len(rows) - 6), name, fill=BLACK)
        images.append(image)
    durations = [FRAME] * (len(images) - 1) + [LAST]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False
    )


def _sheets(shades: np.ndarray) -> np.ndarray:
    """Lay fields [rows, batch, times, n, m] side by side: [times, height, width]."""
    rows, columns, times, n, m = shades.shape
    zoom = -(-LEAST_SIDE // min(n, m))
    large = shades.repeat(zoom, axis=-1).repeat(zoom, axis=-2)
    height, width = n * zoom + GAP, m * zoom + GAP
    sheets = np.full((times, rows * height + GAP, MARGIN + columns * width), WHITE, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = GAP + row * height, MARGIN + column * width
            sheets[:, top : top + n * zoom, left : left + m * zoom] = large[row, column]
    return sheets
