"""Tables of scores and comparisons, as the command line prints them."""

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from physopt.analysis.comparison import Comparison
from physopt.analysis.costs import COSTS, cost_label
from physopt.analysis.fairness import apart, refused
from physopt.analysis.profiles import performance_profile
from physopt.analysis.scores import ranks, score_table
from physopt.analysis.tests_of_difference import paired_tests
from physopt.analysis.words import amount, interval, overall, refused_cells, score_cells


def print_scores(comparison: Comparison) -> None:
    """Print the scores of each case, the mean ranks, sentences over all cases, and the notes."""
    console = _console()
    axis, scores, ranked = comparison.axis, score_table(comparison), ranks(comparison)
    refusals = refused(apart(comparison.frame))
    for case, group in scores.groupby("case", sort=False):
        target = group["target"].iloc[0]
        own = " (its own)" if bool(group["own"].iloc[0]) else ""
        console.print(f"\n[bold]{escape(str(case))}[/]  target {amount(target)}{own}")
        to_target = f"{COSTS[axis].unit} to target"
        metric = group["metric"].iloc[0]
        table = _table("method", "runs", "failed", metric, "95 %", to_target, "95 %", "reached")
        for row in group.to_dict("records"):
            reached = f"{row['reached']}/{row['runs']}"
            table.add_row(*map(escape, score_cells(row)), reached)
        for method in sorted({m for c, m in refusals if c == case} - set(group["method"])):
            table.add_row(*map(escape, refused_cells(method)), "")
        console.print(table)
    if len(ranked) > 1:
        means = ", ".join(f"{method} {mean:.2g}" for method, mean in ranked["mean"].items())
        console.print(f"\nmean rank by final error: {escape(means)}")
    for sentence in overall(ranked, performance_profile(comparison), paired_tests(comparison)):
        console.print(escape(sentence))
    console.print(
        "\nMedian final error, and mean over seeds of "
        f"{escape(cost_label(axis, comparison.compile_time))}. "
        "A run that misses the target counts twice the largest budget spent on the problem."
    )
    _print_notes(console, scores)


def print_comparison(table: pd.DataFrame, sources: list[str]) -> None:
    """Print a table of `compare`."""
    console = _console()
    for name, source in zip("AB", sources, strict=True):
        console.print(f"{name}  {escape(source)}")
    for (case, first, second), rows in table.groupby(["case", "first", "second"], sort=False):
        console.print(f"\n[bold]{escape(case)}[/]  A {escape(first)}, B {escape(second)}")
        shown = _table("", "A", "B", "B / A", "95 %", "runs")
        for row in rows.to_dict("records"):
            values = amount(row["a"]), amount(row["b"]), amount(row["ratio"], "∞")
            bounds = interval(row["low"], row["high"]) or "no interval"
            shown.add_row(*map(escape, (row["quantity"], *values, bounds, row["runs"])))
        console.print(shown)
    console.print(
        "\nGeometric means over runs, their ratio and its bootstrap interval over seeds; medians "
        "and no interval if a run failed, no interval for one run."
    )
    _print_notes(console, table)


def _table(first: str, *others: str) -> Table:
    """Make a table without rows: a column of names, and columns of numbers."""
    table = Table(box=None, pad_edge=False)
    table.add_column(first, overflow="fold")
    for title in others:
        table.add_column(escape(title), justify="right")
    return table


def _print_notes(console: Console, table: pd.DataFrame) -> None:
    """Print the notes of a table, one per line."""
    for note in table.attrs.get("notes", ()):
        console.print(f"note: {escape(note)}")


def _console() -> Console:
    # Without a terminal rich assumes 80 columns, which would cut tables.
    console = Console(highlight=False, soft_wrap=False)
    return console if console.is_terminal else Console(highlight=False, width=160)
