"""Cells of a table file: a text with separators, or a worksheet."""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

Cell = float | str  # "" if empty
Row = tuple[Cell, ...]

_SEPARATORS = {
    "semicolons": ";",
    "tabs": "\t",
    "commas": ",",
    "bars": "|",
    "two or more spaces": re.compile(r"\s{2,}"),
    "spaces": re.compile(r"\s+(?![(\[])"),  # a unit in brackets belongs to the word before it
}
_WITH_COMMA = re.compile(r"[-+]?(\d+,\d*|,\d+)(e[-+]?\d+)?", re.IGNORECASE)
_WITH_POINT = re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)(e[-+]?\d+)?", re.IGNORECASE)
_RULER = re.compile(r"[\s=_*+.\-–—]*")


@dataclass(frozen=True)
class Grid:
    """The cells of a table, numbers converted; row and column counts begin at 1."""

    rows: tuple[Row, ...]
    form: str  # what kind of file it is
    sheet: str | None = None

    def place(self, row: int, column: int | None = None) -> str:
        """Return the name of a row or cell of the file; indices begin at 0."""
        if self.sheet is not None:
            cell = f"row {row + 1}" if column is None else f"cell {_letters(column)}{row + 1}"
            return f"sheet '{self.sheet}', {cell}"
        return f"row {row + 1}" if column is None else f"row {row + 1}, column {column + 1}"


def text_grid(text: str, encoding: str) -> Grid:
    """Split a text by the separator and the decimal mark that give the most numbers.

    A comment after # is dropped from a row of numbers; a # at the start of a row of text is
    removed, as it may mark a header.
    """
    lines = [_uncommented(line) for line in text.splitlines()]
    best, score = ((), ""), 0.0
    for name, separator in _SEPARATORS.items():
        cells = [_split(line, separator) for line in lines]
        comma = _has_decimal_commas(cells)
        rows = tuple(tuple(_converted(cell, comma) for cell in row) for row in cells)
        number = sum(_share_of_numbers(row) for row in rows)
        if number > score:
            mark = "decimal commas" if comma else "decimal points"
            best, score = (rows, f"{name} between columns, {mark}"), number
    rows, dialect = best
    if not rows:
        raise ValueError("the file has no rows of numbers: expected two columns of numbers")
    return Grid(rows, f"table, {dialect}, {encoding}")


def as_number(text: str, comma: bool) -> float | None:
    """Return the number that a cell shows, None if it shows none."""
    pattern = _WITH_COMMA if comma and "," in text else _WITH_POINT
    if not pattern.fullmatch(text):
        return None
    number = float(text.replace(",", "."))
    return number if math.isfinite(number) else None


def is_blank(row: Sequence[Cell]) -> bool:
    """Return whether a row has no cell but rulers such as ===== or -----."""
    return all(isinstance(cell, str) and _RULER.fullmatch(cell) for cell in row)


def numbers_in(row: Sequence[Cell]) -> int:
    """Return how many cells of a row are numbers."""
    return sum(isinstance(cell, float) for cell in row)


def texts_in(row: Sequence[Cell]) -> list[str]:
    """Return the cells of a row that hold text."""
    return [cell for cell in row if isinstance(cell, str) and cell]


def _uncommented(line: str) -> str:
    body, mark, comment = line.partition("#")
    if mark and not body.strip():
        is_header = re.match(r"\s*[-+.\d]", comment) is None
        return comment if is_header else ""
    return body if re.match(r"\s*[-+.\d]", body) else line


def _split(line: str, separator: str | re.Pattern[str]) -> list[str]:
    if isinstance(separator, str):
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    else:
        cells = separator.split(line.strip())
    cells = [cell.strip().strip("\"'").strip() for cell in cells]
    while cells and not cells[-1]:  # trailing separators
        cells.pop()
    return cells


def _has_decimal_commas(cells: list[list[str]]) -> bool:
    flat = [cell for row in cells for cell in row]
    commas = sum(_WITH_COMMA.fullmatch(cell) is not None for cell in flat)
    points = sum("." in cell and _WITH_POINT.fullmatch(cell) is not None for cell in flat)
    return commas > points


def _converted(cell: str, comma: bool) -> Cell:
    number = as_number(cell, comma)
    return cell if number is None else number


def _share_of_numbers(row: Row) -> float:
    """Return the share of numbers in a row of points, which is 1 if no cell holds two numbers."""
    numbers, texts = numbers_in(row), len(texts_in(row))
    return numbers / (numbers + texts) if numbers > 1 and numbers >= texts else 0.0


def _letters(column: int) -> str:
    """Return a worksheet's name of a column: A, B, ..., Z, AA."""
    return (_letters(column // 26 - 1) if column > 25 else "") + chr(ord("A") + column % 26)
