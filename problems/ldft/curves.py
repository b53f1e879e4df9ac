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


def read_target(
    path: Path | str, points: int, desorption: bool
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return the isotherm [1, length] and the points behind it: humidity and content [1, n]."""
    measured = read_measured(path)
    used = measured.branches_used(desorption)
    humidity = np.concatenate([branch.humidity for branch in used])
    content = np.concatenate([branch.content for branch in used])
    return measured.target(points, desorption)[None], (humidity[None], content[None])


def target_statement(path: Path | str, points: int, desorption: bool) -> dict[str, str]:
    """Return how `read_target` reads a file: its kind, units, ranges, branches, repairs."""
    measured = read_measured(path)
    measured.target(points, desorption)  # raises if the branches are not those that are needed
    return measured.stated(desorption)
