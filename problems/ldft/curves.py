"""A user's own isotherm as a target."""

from pathlib import Path

import numpy as np

from physopt.problems.ldft.isotherm_files.measured import read_measured


def read_isotherm(path: Path | str, points: int, desorption: bool) -> np.ndarray:
    """Read a measured isotherm and interpolate it to h = 1/points ... 1: [length].

    The file is a table with or without headings, an .xlsx workbook, an AIF file or JSON; see
    physopt.problems.ldft.isotherm_files. With desorption the second half is the branch of falling
    humidity, from 1 - 1/points to 0.

    Raises ValueError, with the place and the reason, if the file is no isotherm that can be read
    with confidence.
    """
    return read_measured(path).target(points, desorption)
