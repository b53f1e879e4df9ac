"""Tables of a map on the command line."""

import math

import pandas as pd
from rich.markup import escape
from rich.table import Table

from physopt.feasibility.map import EXHAUSTED, judged
from physopt.feasibility.request import ONE_MODE
from physopt.records.units import bytes_text, memory_unit, scaled_text
from physopt.training.display import console


def show_map(table: pd.DataFrame, limit: float) -> None:
    """Print the largest batch of each size and mode, the reasons of missing predictions, runs."""
    out = console()
    device = table["device"].iloc[0]
    out.print(f"\nlargest batch within {bytes_text(limit)} on {escape(device)}")
    out.print(_largest(table))
    for reason, cells in table[table["reason"] != ""].groupby("reason", sort=False):
        out.print(f"{len(cells)} cells  {escape(str(reason))}")
    ran = table[table["confirmed"] != ""]
    if len(ran):
        out.print("\ncells that were run")
        out.print(_runs(ran))
        out.print(verdict(ran))


def verdict(table: pd.DataFrame) -> str:
    """Return the number of predictions that the runs confirmed, as text."""
    decided = judged(table)
    text = f"predictions that held: {int(decided['right'].sum())} of {len(decided)}"
    if table["fits"].nunique() == 1:
        text += f" (all {'within' if table['fits'].iloc[0] else 'beyond'} the limit)"
    undecided = len(table) - len(decided)
    return text + (f"; {undecided} runs were inconclusive" if undecided else "")


def _largest(table: pd.DataFrame) -> Table:
    rows = Table(box=None, pad_edge=False)
    modes = list(dict.fromkeys(table["mode"]))
    rows.add_column("size", justify="right")
    for mode in modes:
        rows.add_column("batch" if mode == ONE_MODE else mode, justify="right")
    for size, group in table.groupby("size"):
        texts = [_largest_of(group[group["mode"] == mode]) for mode in modes]
        rows.add_row(str(size), *texts)
    return rows


def _largest_of(cells: pd.DataFrame) -> str:
    fitting = cells[cells["fits"].fillna(False).astype(bool)]
    if fitting.empty:
        return "?" if cells["fits"].isna().all() else "none"
    best = fitting.loc[fitting["batch"].idxmax()]
    bound = ">= " if best["batch"] == cells["batch"].max() else ""  # no larger batch was requested
    return f"{bound}{best['batch']} ({bytes_text(best['bytes'])})"


def _runs(ran: pd.DataFrame) -> Table:
    """Return predicted and measured memory of the cells that were run, in one unit."""
    unit, size = memory_unit([*ran["bytes"], *ran["measured_bytes"]])
    rows = Table(box=None, pad_edge=False)
    for name in ("size", "batch", "mode", f"predicted ({unit})", "measured", "fits", "it"):
        rows.add_column(name, justify="left" if name in ("mode", "it") else "right")
    for row in ran.to_dict("records"):
        known = not math.isnan(row["measured_bytes"])
        measured = scaled_text(row["measured_bytes"] / size) if known else "-"
        if row["confirmed"] == EXHAUSTED and known:
            measured = f"> {measured}"  # it was stopped there
        rows.add_row(
            str(row["size"]), str(row["batch"]), row["mode"], scaled_text(row["bytes"] / size),
            measured, "yes" if row["fits"] else "no", escape(row["confirmed"]),
        )  # fmt: skip
    return rows
