"""The isotherm in a grid of cells: its headings, its rows, and the lines around them."""

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from physopt.problems.ldft.isotherm_files.columns import Columns, Incomplete, Pair, columns
from physopt.problems.ldft.isotherm_files.grid import Cell, Grid, is_blank, numbers_in, texts_in
from physopt.problems.ldft.isotherm_files.headings import (
    Heading,
    Quantity,
    branch_named,
    heading,
    is_unit,
)

_MOST_HEADER_ROWS = 4


@dataclass(frozen=True)
class Layout:
    """Where a grid holds an isotherm."""

    columns: Columns
    start: int  # row of the first point
    header: tuple[int, ...]  # rows of the headings
    desorption: bool | None  # branch that a line above the points names
    is_named: bool


def find_layout(grid: Grid) -> Layout:
    """Find the isotherm by its headings; a table of two columns needs none.

    Raises ValueError if the grid holds no isotherm, or if it is not certain where.
    """
    reasons: list[ValueError] = []
    starts = list(_starts(grid))
    for start in starts:
        try:
            return _named(grid, start)
        except ValueError as error:
            reasons.append(error)
    certain = [reason for reason in reasons if not isinstance(reason, Incomplete)]
    if certain:
        raise certain[0]
    if not starts:
        raise ValueError(
            "expected two columns of numbers (relative humidity, water content) or a header that "
            "names them"
        )
    return _unnamed(grid, starts[0], reasons[0])


def _starts(grid: Grid) -> Iterator[int]:
    """Yield the first row of each group of rows of numbers."""
    inside = False
    for index, row in enumerate(grid.rows):
        if is_blank(row):
            continue
        numeric = numbers_in(row) > 1
        if numeric and not inside:
            yield index
        inside = numeric


def _named(grid: Grid, start: int) -> Layout:
    above, branch = _rows_above(grid, start)
    reasons: list[ValueError] = []
    candidates = [above[-count:] for count in range(1, len(above) + 1)]
    # Units alone tell less than names: a row of units is read with the names above it.
    candidates.sort(key=lambda rows: all(is_unit(t) for r in rows for t in texts_in(grid.rows[r])))
    for rows in candidates:
        try:
            assigned = columns(_headings(grid, rows))
        except ValueError as error:
            reasons.append(error)
            continue
        _check_width(grid, rows, start, assigned)
        return Layout(*_with_units(grid, above, rows, assigned, start), branch, True)
    certain = [reason for reason in reasons if not isinstance(reason, Incomplete)]
    raise (certain or reasons or [Incomplete("no row above the numbers names them")])[0]


def _check_width(grid: Grid, rows: tuple[int, ...], start: int, assigned: Columns) -> None:
    """Raise ValueError if words of the headings were taken for columns."""
    width = len(grid.rows[start])
    used = [k for pair in assigned.pairs for k in (pair.axis, pair.content)]
    if max(*used, *assigned.alternatives) >= width:
        raise ValueError(
            f"{grid.place(rows[-1])}: {len(grid.rows[rows[-1]])} headings for {width} numbers: "
            "separate headings as the numbers are, best by tabs or semicolons"
        )


def _rows_above(grid: Grid, start: int) -> tuple[tuple[int, ...], bool | None]:
    """Return the rows of text directly above the numbers, and the branch that a line names."""
    rows: list[int] = []
    branch: bool | None = None
    for index in range(start - 1, -1, -1):
        row = grid.rows[index]
        texts = texts_in(row)
        if is_blank(row):
            continue
        if branch is None and len(texts) == 1 and branch_named(texts[0]) is not None:
            branch = branch_named(texts[0])
            if rows:
                break
        elif not rows and numbers_in(row) == 1 and row[0] == "":
            continue  # a measurement of p0 before the first point
        elif len(texts) > 1 and numbers_in(row) == 0 and len(rows) < _MOST_HEADER_ROWS:
            rows.append(index)
        else:
            break
    return tuple(reversed(rows)), branch


def _headings(grid: Grid, rows: tuple[int, ...]) -> list[Heading]:
    """Return the heading of each column, its texts joined from top to bottom."""
    width = max(len(grid.rows[row]) for row in rows)
    texts = [[_text(grid.rows[row], k) for row in rows] for k in range(width)]
    return [heading(" ".join(text for text in column if text)) for column in texts]


def _text(row: tuple[Cell, ...], column: int) -> str:
    cell = row[column] if column < len(row) else ""
    return cell if isinstance(cell, str) else ""


def _with_units(
    grid: Grid, above: tuple[int, ...], rows: tuple[int, ...], assigned: Columns, start: int
) -> tuple[Columns, int, tuple[int, ...]]:
    """Add the row above the headings if it states a missing unit and changes nothing else."""
    position = above.index(rows[0])
    if position:
        more = (above[position - 1], *rows)
        try:
            extended = columns(_headings(grid, more))
        except ValueError:
            return assigned, start, rows
        used = [k for pair in assigned.pairs for k in (pair.axis, pair.content)]
        gained = [assigned.headings[k].unit is None and extended.headings[k].unit for k in used]
        is_metadata = any(text.endswith((":", "=")) for text in texts_in(grid.rows[more[0]]))
        if extended.pairs == assigned.pairs and any(gained) and not is_metadata:
            return extended, start, more
    return assigned, start, rows


def _unnamed(grid: Grid, start: int, reason: ValueError) -> Layout:
    """Return the layout of two columns, of which a heading may name no quantity that is known."""
    occupied = sorted({k for row in grid.rows[start:] for k, cell in enumerate(row) if cell != ""})
    header = grid.rows[start - 1] if start else ()
    names = [_text(header, k) for k in range(occupied[-1] + 1)]
    headings = [heading(name) for name in names]
    if len(occupied) == 2:
        axis, content = occupied
        is_axis = headings[axis].quantity in ("relative", "pressure", "unknown")
        is_content = headings[content].quantity in ("content", "unknown")
        if is_axis and is_content and not headings[axis].is_mass and not headings[content].is_mass:
            rows = (start - 1,) if names[axis] and names[content] else ()
            headings[axis] = _by_position(headings[axis], "relative", "first column")
            headings[content] = _by_position(headings[content], "content", "second column")
            is_named = headings[axis].quantity == heading(names[axis]).quantity
            both = Columns((Pair(axis, content),), tuple(headings))
            return Layout(both, start, rows, None, is_named)
    detail = f": {reason}" if texts_in(header) else ""
    raise ValueError(
        f"{grid.place(start)}: expected two columns of numbers (relative humidity, water content) "
        f"or a header that names them{detail}"
    )


def _by_position(named: Heading, quantity: Quantity, place: str) -> Heading:
    """Return a heading of this quantity if it names none."""
    if named.quantity != "unknown":
        return named
    return dataclasses.replace(named, quantity=quantity, text=named.text or place)


def cycle_named(row: tuple[Cell, ...]) -> str | None:
    """Return the name of the cycle that a row begins, such as 'cycle 2'."""
    for text in texts_in(row):
        if re.fullmatch(r"cycle ?\d+", text.lower()):
            return text.lower()
    return None
