"""Cells of .xlsx workbooks."""

import importlib.util
import io
import math

from physopt.problems.ldft.isotherm_files.grid import Cell, Grid, as_number


def workbook_grids(content: bytes) -> list[Grid]:
    """Return the worksheets that hold any cell.

    Raises ValueError if openpyxl is missing or if the file is no .xlsx workbook.
    """
    if importlib.util.find_spec("openpyxl") is None:
        raise ValueError("reading .xlsx needs openpyxl: pip install physopt[isotherms]")
    import pandas as pd

    try:
        sheets = pd.read_excel(
            io.BytesIO(content), sheet_name=None, header=None, dtype=object, na_filter=False,
            engine="openpyxl",
        )  # fmt: skip
    except Exception as error:  # openpyxl raises what zipfile and its XML parsers raise
        raise ValueError(f"the file is no .xlsx workbook that can be read: {error}") from None
    grids = []
    for name, sheet in sheets.items():
        rows = tuple(tuple(_cell(value) for value in row) for row in sheet.to_numpy())
        if rows:
            grids.append(Grid(rows, ".xlsx workbook", str(name)))
    return grids


def _cell(value: object) -> Cell:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else "#ERROR"  # pandas reads #REF! as NaN
    text = " ".join(str(value).split())
    number = as_number(text, comma=True)  # a number typed as text, in any locale
    return text if number is None else number
