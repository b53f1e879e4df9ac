"""Points of an isotherm in a grid of cells."""

from dataclasses import dataclass, field

import numpy as np

from physopt.problems.ldft.isotherm_files.columns import Pair
from physopt.problems.ldft.isotherm_files.conditions import conditions
from physopt.problems.ldft.isotherm_files.grid import Grid, Row, is_blank, numbers_in, texts_in
from physopt.problems.ldft.isotherm_files.headings import branch_named
from physopt.problems.ldft.isotherm_files.layout import Layout, cycle_named, find_layout
from physopt.problems.ldft.isotherm_files.points import Column, Points

_SHORT = {"a": False, "up": False, "d": True, "down": True}  # in a column of branches


@dataclass
class _Rows:
    """Rows of points, collected from top to bottom."""

    points: list[int] = field(default_factory=list)
    branches: list[bool | None] = field(default_factory=list)  # of each point, as lines name it
    cycles: list[str | None] = field(default_factory=list)
    end: int | None = None  # first row after the table


def table_points(grid: Grid) -> Points:
    """Return the points of the isotherm in a grid.

    Raises ValueError, with the row and the cell, for what cannot be read.
    """
    layout = find_layout(grid)
    rows = _rows(grid, layout)
    cycle = next((name for name in rows.cycles if name), None)
    kept = [k for k, name in enumerate(rows.cycles) if name in (None, cycle)]
    remarks = []
    if len(kept) < len(rows.points):
        count = len({name for name in rows.cycles if name})
        remarks.append(f"{cycle} of {count} read; {len(rows.points) - len(kept)} rows of others")
    if rows.end is not None:
        remarks.append(f"{grid.place(rows.end)} and below: not read, as the table ends")
    entries = _entries(grid, layout, [(rows.points[k], rows.branches[k]) for k in kept])
    return _points(grid, layout, rows, entries, tuple(remarks))


def _rows(grid: Grid, layout: Layout) -> _Rows:
    """Walk down from the first point; text between points ends the table or is refused."""
    rows = _Rows()
    headers = {grid.rows[index] for index in layout.header}
    branch, cycle, text = layout.desorption, None, None
    for index in range(layout.start, len(grid.rows)):
        row = grid.rows[index]
        cycle = cycle_named(row) or cycle
        texts = texts_in(row)
        if is_blank(row) or row in headers or _is_end_mark(row):
            continue
        if not numbers_in(row) and len(texts) == 1 and branch_named(texts[0]) is not None:
            branch = branch_named(texts[0])
        elif not numbers_in(row) and len(texts) > 1 and not _interrupts(grid, layout, index):
            rows.end = index
            break
        elif not _has_number(row, layout):
            text = index if texts else text
        else:
            if text is not None:
                shown = texts_in(grid.rows[text])[0]
                raise ValueError(f"{grid.place(text)}: '{shown}' stands between the points")
            _check_extent(grid, layout, index)
            rows.points.append(index)
            rows.branches.append(branch)
            rows.cycles.append(cycle)
    if rows.end is None:
        rows.end = text
    return rows


def _check_extent(grid: Grid, layout: Layout, index: int) -> None:
    """Raise ValueError if a row has a number without a heading, as by a comma inside a number."""
    headings = len(layout.columns.headings)
    if numbers_in(grid.rows[index][headings:]):
        raise ValueError(
            f"{grid.place(index)}: {len(grid.rows[index])} cells for {headings} headings: is a "
            "comma the decimal mark? Then separate columns by semicolons or tabs"
        )


def _interrupts(grid: Grid, layout: Layout, index: int) -> bool:
    """Return whether a row stands directly between two points, as no heading of a table does."""
    around = grid.rows[index - 1], *grid.rows[index + 1 : index + 2]
    return len(around) == 2 and all(_has_number(row, layout) for row in around)


def _is_end_mark(row: Row) -> bool:
    """Return whether a row of zeros ends a branch, as BELSORP instruments write it."""
    return len(row) > 3 and all(cell == 0.0 for cell in row if cell != "") and numbers_in(row) > 3


def _has_number(row: Row, layout: Layout) -> bool:
    used = [k for pair in layout.columns.pairs for k in (pair.axis, pair.content)]
    return any(k < len(row) and isinstance(row[k], float) for k in used)


@dataclass(frozen=True)
class _Entry:
    """One point: row, pair of columns, and branch."""

    row: int
    pair: Pair
    desorption: bool | None


def _entries(grid: Grid, layout: Layout, rows: list[tuple[int, bool | None]]) -> list[_Entry]:
    """Return the points of all pairs of columns; a blank content of a pair is no point."""
    entries = []
    single = len(layout.columns.pairs) == 1
    column = _branch_column(grid, layout, [index for index, _ in rows])
    for pair in layout.columns.pairs:
        for index, branch in rows:
            row = grid.rows[index]
            blank = pair.content >= len(row) or row[pair.content] == ""
            if not single and blank:
                continue
            if column is not None:
                branch = _branch(grid, index, column)
            elif pair.desorption is not None:
                branch = pair.desorption
            entries.append(_Entry(index, pair, branch))
    return entries


def _branch_column(grid: Grid, layout: Layout, rows: list[int]) -> int | None:
    """Return the column whose heading or whose every cell names the branch."""
    if layout.columns.branch is not None:
        return layout.columns.branch
    for column in range(min((len(grid.rows[index]) for index in rows), default=0)):
        cells = [grid.rows[index][column] for index in rows]
        if all(isinstance(cell, str) and branch_named(cell) is not None for cell in cells):
            return column
    return None


def _branch(grid: Grid, index: int, column: int) -> bool:
    row = grid.rows[index]
    cell = row[column] if column < len(row) else ""
    if cell in (0.0, 1.0):
        return cell == 1.0
    named = _SHORT.get(str(cell).lower(), branch_named(str(cell)))
    if named is None:
        raise ValueError(f"{grid.place(index, column)}: '{cell}' names no branch")
    return named


def _points(
    grid: Grid, layout: Layout, rows: _Rows, entries: list[_Entry], remarks: tuple[str, ...]
) -> Points:
    columns = layout.columns
    axis = np.array([_number(grid, layout, e.row, e.pair.axis) for e in entries])
    content = np.array([_number(grid, layout, e.row, e.pair.content) for e in entries])
    labels = [e.desorption for e in entries]
    first = columns.pairs[0]
    _check_alternatives(grid, layout, entries, content)
    saturation = None
    if columns.saturation is not None:
        values = [_number(grid, layout, e.row, columns.saturation) for e in entries]
        saturation = _column(layout, columns.saturation, np.array(values))
    inside = {grid.rows[index] for index in (*rows.points, *layout.header)}
    outside = [row for row in grid.rows if row not in inside]
    form = grid.form if grid.sheet is None else f"{grid.form}, sheet '{grid.sheet}'"
    return Points(
        form,
        _column(layout, first.axis, axis),
        columns.headings[first.axis].quantity == "relative",
        _column(layout, first.content, content),
        None if all(label is None for label in labels) else np.array([bool(b) for b in labels]),
        tuple(grid.place(e.row) for e in entries),
        saturation,
        conditions(outside),
        layout.is_named,
        remarks,
    )


def _column(layout: Layout, column: int, values: np.ndarray) -> Column:
    heading = layout.columns.headings[column]
    return Column(values, f"column '{heading.text}'", heading.unit)


def _number(grid: Grid, layout: Layout, index: int, column: int) -> float:
    row = grid.rows[index]
    cell = row[column] if column < len(row) else ""
    if isinstance(cell, float):
        return cell
    shown = f"'{cell}' is no number" if cell else "is empty"
    name = layout.columns.headings[column].text
    hint = "" if layout.is_named else "; expected two columns of numbers"
    raise ValueError(f"{grid.place(index, column)} ({name}): {shown}{hint}")


def _check_alternatives(
    grid: Grid, layout: Layout, entries: list[_Entry], content: np.ndarray
) -> None:
    """Raise ValueError if another column of contents is no multiple of the first."""
    for column in layout.columns.alternatives:
        other = np.array([_number(grid, layout, e.row, column) for e in entries])
        if not np.allclose(other / other.max(), content / content.max(), atol=2e-3):
            names = [layout.columns.headings[k].text for k in (entries[0].pair.content, column)]
            raise ValueError(
                f"the columns '{names[0]}' and '{names[1]}' hold different contents: keep one"
            )
