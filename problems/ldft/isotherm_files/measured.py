"""A measured isotherm: read from a file, converted, and interpolated to a target."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from physopt.problems.ldft.isotherm_files.aif import aif_points, is_aif
from physopt.problems.ldft.isotherm_files.branches import Branch, Branches, split
from physopt.problems.ldft.isotherm_files.decoding import decode
from physopt.problems.ldft.isotherm_files.grid import Grid, text_grid
from physopt.problems.ldft.isotherm_files.humidity import WATER, relative_humidity
from physopt.problems.ldft.isotherm_files.json_documents import json_points
from physopt.problems.ldft.isotherm_files.points import Points
from physopt.problems.ldft.isotherm_files.table import table_points
from physopt.problems.ldft.isotherm_files.workbook import workbook_grids

LOWEST_CONTENT = -0.02
"""Smallest content, relative to the maximum, that is read as the noise of a dry sample."""


@dataclass(frozen=True)
class Measured:
    """An isotherm with contents as they become the target, and a statement of what was read."""

    branches: Branches
    is_labelled: bool  # whether the file names the branches
    statement: Mapping[str, str]

    def target(self, points: int, desorption: bool) -> np.ndarray:
        """Return the contents at h = 1/points ... 1, and of desorption back to 0: [length].

        Between points contents are linear, from zero at h = 0 if the file does not reach it, and
        constant above the last humidity. For adsorption alone the desorption branch is left out if
        the file names the branches.

        Raises ValueError if the branches are not those that are needed.
        """
        grid = np.arange(1, points + 1) / points
        up, down = self.branches.adsorption, self.branches.desorption
        if not desorption:
            if down is not None and not self.is_labelled:
                raise ValueError("humidities must rise; a loop is for problem=ldft_hysteresis")
            return _interpolated(up, grid)
        if down is None:
            raise ValueError("a hysteresis loop needs rows of falling humidity after rising ones")
        falling = _interpolated(down, grid)
        return np.concatenate([_interpolated(up, grid), falling[-2::-1], [0.0]])

    def branches_used(self, desorption: bool) -> list[Branch]:
        """Return adsorption and, if it is wanted and measured, desorption."""
        down = self.branches.desorption if desorption else None
        return [self.branches.adsorption, *([] if down is None else [down])]

    def stated(self, desorption: bool) -> dict[str, str]:
        """Return the statement with what the target uses of it."""
        used = self.branches_used(desorption)
        lowest = max(branch.humidity[0] for branch in used)
        highest = min(branch.humidity[-1] for branch in used)
        words = dict(self.statement)
        if self.branches.desorption is not None and not desorption:
            words["branches"] += "; the target is adsorption (problem=ldft_hysteresis takes both)"
        beyond = []
        if lowest > 0:
            beyond.append(f"from zero content at 0 linear to {lowest:.4g}")
        if highest < 1:
            beyond.append(f"constant above {highest:.4g}")
        if beyond:
            words["not measured"] = ", ".join(beyond)
        return words


def read_measured(path: Path | str) -> Measured:
    """Read an isotherm from a table, an .xlsx workbook, an AIF file or JSON.

    Raises OSError if there is no such file, ValueError with the place and the reason for what
    cannot be read with confidence.
    """
    points = _points(Path(path).read_bytes())
    if len(points.places) < 2:
        raise ValueError("expected two columns of numbers with at least two points")
    humidity, unit = relative_humidity(points)
    content, normalisation, remarks = _contents(points)
    branches = split(humidity, content, points.desorption, points.places)
    return Measured(
        branches,
        points.desorption is not None,
        _statement(points, humidity, unit, normalisation, branches, remarks),
    )


def _points(content: bytes) -> Points:
    """Read a file by its content; its name does not matter."""
    if content.startswith(b"PK"):
        return _of_one_sheet(workbook_grids(content))
    if content.startswith(b"\xd0\xcf\x11\xe0"):
        raise ValueError("the file is an old .xls workbook: save it as .xlsx or as text")
    text, encoding = decode(content)
    if text.lstrip().startswith(("{", "[")):
        return json_points(text)
    return aif_points(text) if is_aif(text) else table_points(text_grid(text, encoding))


def _of_one_sheet(grids: list[Grid]) -> Points:
    """Return the isotherm of a workbook; a sheet named as one goes before the others."""
    named = [grid for grid in grids if "iso" in (grid.sheet or "").lower()]
    read, reasons = [], []
    for grid in named or grids:
        try:
            read.append((grid, table_points(grid)))
        except ValueError as error:
            reason = str(error)
            is_placed = reason.startswith("sheet")
            reasons.append(reason if is_placed else f"sheet '{grid.sheet}': {reason}")
    if len(read) > 1:
        names = ", ".join(f"'{grid.sheet}'" for grid, _ in read)
        raise ValueError(f"the sheets {names} each hold a table: keep one, or name it 'isotherm'")
    if not read:
        raise ValueError(reasons[0] if reasons else "the workbook is empty")
    return read[0][1]


def _contents(points: Points) -> tuple[np.ndarray, str, list[str]]:
    """Return contents as they become the target, their normalisation, and what was repaired.

    Contents with a unit are divided by their maximum; without a unit they are filled fractions if
    none exceeds 1.
    """
    values, unit = points.content.values, points.content.unit
    largest = float(values.max())
    if largest <= 0:
        raise ValueError(
            f"{points.content.name} has no value above 0, but water content must not be < 0"
        )
    for bad in np.flatnonzero(values < LOWEST_CONTENT * largest)[:1]:
        raise ValueError(
            f"{points.places[bad]}: {points.content.name} is {values[bad]:g}, "
            "but water content must not be < 0"
        )
    negative = int(np.sum(values < 0))
    repairs = [f"{negative} contents just below 0 set to 0"] if negative else []
    values = np.maximum(values, 0.0)
    if unit in (None, "fraction") and largest <= 1:
        return values, "without a unit and at most 1: a filled fraction as it is", repairs
    shown = "without a unit" if unit in (None, "fraction") else f"in {unit}"
    return values / largest, f"{shown}, divided by its maximum {largest:.6g}", repairs


def _statement(
    points: Points, humidity: np.ndarray, unit: str, normalisation: str, branches: Branches,
    repairs: list[str],
) -> dict[str, str]:  # fmt: skip
    up, down = _count(points, branches)
    named = "as the file names them" if points.desorption is not None else "by the order of points"
    words = {
        "file": points.form,
        "humidity": f"{unit}; {humidity.min():.4g} to {humidity.max():.4g}",
        "content": f"{points.content.name}, {normalisation}",
        "branches": f"adsorption {up} points, " + (
            f"desorption {down} points, {named}" if down else "no desorption"),
    }  # fmt: skip
    if points.conditions.adsorptive is not None:
        is_water = points.conditions.adsorptive.lower() in WATER
        note = "" if is_water else ", not water: the curve is taken as it is"
        words["adsorptive"] = f"{points.conditions.adsorptive}{note}"
    if repaired := [*repairs, *branches.repairs]:
        words["repaired"] = "; ".join(repaired)
    if points.remarks:
        words["left out"] = "; ".join(points.remarks)
    return words


def _count(points: Points, branches: Branches) -> tuple[int, int]:
    total = len(points.places)
    if points.desorption is not None:
        down = int(points.desorption.sum())
    elif branches.desorption is None:
        down = 0
    else:
        down = total - 1 - int(np.argmax(points.axis.values))
    return total - down, down


def _interpolated(branch: Branch, grid: np.ndarray) -> np.ndarray:
    humidity, content = branch.humidity, branch.content
    if humidity[0] > 0:
        humidity, content = np.insert(humidity, 0, 0.0), np.insert(content, 0, 0.0)
    return np.interp(grid, humidity, content)
