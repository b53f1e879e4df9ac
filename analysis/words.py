"""Words: scores as sentences. Which method is best where, by how much, with which certainty."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.costs import COSTS
from physopt.analysis.tests_of_difference import OVERALL

LEVEL = 0.05
"""A corrected p-value below this is significant."""


def amount(value: float, infinity: str = "never") -> str:
    """Format a number with three digits; a missing value is a dash."""
    if pd.isna(value):
        return "–"
    if math.isinf(value):
        return infinity
    text = f"{value:.3g}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.2e}"
    if 1e3 <= abs(value) < 1e5:
        text = f"{value:.0f}"
    return text.replace("e-0", "e-").replace("e+0", "e")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def duration(value: float, axis: str) -> str:
    """Format a cost with its unit."""
    return f"{amount(value)} {COSTS[axis].unit}" if math.isfinite(value) else amount(value)


def interval(low: float, high: float) -> str:
    """Format an interval; an empty text if there is none."""
    return "" if math.isnan(low) else f"[{amount(low)}, {amount(high, '∞')}]"


def score_cells(row: dict[str, Any]) -> list[str]:
    """Format a row of `score_table`: method, runs, failed, error, 95 %, time to target, 95 %."""
    return [
        row["method"],
        str(row["runs"]),
        str(row["failed"] or ""),
        amount(row["median"], "∞"),
        interval(row["low"], row["high"]),
        amount(row["penalised"]),
        interval(row["time_low"], row["time_high"]) if row["reached"] else "",
    ]


def refused_cells(method: str) -> list[str]:
    """Format a method that refused a case, in the columns of `score_cells`."""
    return [method, "", "", "refused", "", "", ""]


def findings(scores: pd.DataFrame, tests: pd.DataFrame, axis: str) -> dict[str, list[str]]:
    """Return sentences for each case, from a table of `score_table` and one of `paired_tests`."""
    sentences = {}
    for case, group in scores.groupby("case", sort=False):
        by_error = group.sort_values("median", kind="stable")
        by_time = group.sort_values("penalised", kind="stable")
        error = _error_sentence(by_error, tests[tests["case"] == case], len(tests))
        sentences[str(case)] = [error, *_time_sentences(by_time, axis), *_failure_sentences(group)]
    return sentences


def _error_sentence(group: pd.DataFrame, tests: pd.DataFrame, total: int) -> str:
    """Return a sentence on the lowest final error; `total` tests were corrected together."""
    first = group.iloc[0]
    if math.isinf(first["median"]):
        return "No method reached a finite error in most of its runs."
    name = f"{first['metric']} {amount(first['median'])}"
    error = f"{name} {interval(first['low'], first['high'])}".rstrip()
    if len(group) == 1:
        return f"{first['method']} ends at {error}."
    second = group.iloc[1]
    if math.isinf(second["median"]):
        return f"{first['method']} ends lowest, at {error}; all others failed in most runs."
    ratio = second["median"] / first["median"] if first["median"] > 0 else math.inf
    certainty = _certainty(first, second, tests, total)
    if ratio < 1.005:
        return f"{first['method']} and {second['method']} end equal, at {error}: {certainty}."
    margin = f"{amount(ratio, '∞')} times below {second['method']}"
    return f"{first['method']} ends lowest, at {error}, {margin}: {certainty}."


def _certainty(first: pd.Series, second: pd.Series, tests: pd.DataFrame, total: int) -> str:
    """Return how certain the order of two methods is."""
    of_pair = tests[["first", "second"]].isin([first["method"], second["method"]]).all(axis=1)
    rows = tests[of_pair]
    p, pairs = rows[["corrected", "pairs"]].iloc[0] if len(rows) else (1.0, 0)
    if p < LEVEL:
        return f"significant, p = {p:.2g} over {pairs:g} seeds after correction for {total} tests"
    if math.isnan(first["high"]) or math.isnan(second["low"]):
        return "with one run each, chance is not excluded"
    weak = f"not significant over {pairs:g} paired seeds (corrected p = {p:.2g})"
    if first["high"] < second["low"]:
        return f"likely, the intervals do not overlap, but {weak}"
    return f"undecided, the intervals overlap, {weak}"


def _time_sentences(group: pd.DataFrame, axis: str) -> list[str]:
    first = group.iloc[0]
    if math.isnan(first["target"]):
        return []
    kind = "the problem's own target" if first["own"] else "the target"
    target = f"{kind} {first['metric']} ≤ {amount(first['target'])}"
    if math.isinf(first["penalised"]):
        return [f"No run reached {target}."]
    spent = duration(first["penalised"], axis)
    spent += f" of {COSTS[axis].words}" if axis == "seconds" else ""
    winner = f"{first['method']} reaches {target} first, in {spent}{_about_time(first, axis)}"
    others = group.iloc[1:]
    reached = others[np.isfinite(others["penalised"])]
    if reached.empty:
        return [f"{winner}; {'no other reached it' if len(others) else 'it is the only method'}."]
    if first["penalised"] <= 0:
        return [f"{winner}."]
    second, missed = reached.iloc[0], len(others) - len(reached)
    ratio = amount(second["penalised"] / first["penalised"])
    rest = f"; {missed} never reached it" if missed else ""
    return [f"{winner}, {ratio} times sooner than {second['method']}{rest}."]


def _about_time(row: pd.Series, axis: str) -> str:
    """Return what a mean time to a target contains that may exceed the budget; often nothing."""
    missed = row["runs"] - row["reached"]
    if missed:
        return f" (mean of {row['runs']} runs; {missed} missed it and count with the penalty)"
    if row["penalised"] > 1.005 * row["budget"]:  # visible in three digits
        budget = duration(row["budget"], axis)
        return f" (the budget of {budget} ends with the update in which it is spent)"
    return ""


def _failure_sentences(group: pd.DataFrame) -> list[str]:
    failed = group[group["failed"] > 0]
    counts = [f"{row['method']} {row['failed']} of {row['runs']}" for _, row in failed.iterrows()]
    return [f"Failed runs: {', '.join(counts)}."] if counts else []


def overall(ranks: pd.DataFrame, profile: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Return sentences over all cases, from tables of `ranks`, `performance_profile` and tests."""
    if len(ranks) < 2:
        return []
    cases = ranks.shape[1] - 1
    (best, first), (next_best, second), *_ = ranks["mean"].map("{:.2g}".format).items()
    order = f"{best} has the best mean rank by final error, {first}; next {next_best}, {second}"
    if first == second:
        order = f"{best} and {next_best} share the best mean rank by final error, {first}"
    on = f"{cases} problems" if cases > 1 else "this problem"
    sentences = [f"Over {on} {order} (of {len(ranks)} methods)."]
    reached = profile.groupby("method")["fraction"].max().sort_values(ascending=False)
    soonest = profile[profile["ratio"] <= 1].groupby("method")["fraction"].max()
    if len(soonest) and soonest.max() > 0:
        fastest, most = soonest.idxmax(), reached.index[0]
        sentences.append(
            f"{fastest} is the fastest to {100 * soonest.max():.0f} % of the targets"
            f"{' and' if fastest == most else f'; {most}'} reaches the most, "
            f"{100 * reached.iloc[0]:.0f} %."
        )
    across = tests[(tests["case"] == OVERALL) & (tests["corrected"] < LEVEL)]
    for row in across.to_dict("records"):
        better, worse = row["first"], row["second"]
        better, worse = (better, worse) if row["ratio"] > 1 else (worse, better)
        certainty = f"p = {row['corrected']:.2g} over {row['pairs']} problems"
        sentences.append(f"Across problems {better} ends below {worse}, {certainty}.")
    if cases > 1 and across.empty:
        sentences.append(
            "No difference between two methods is significant across all problems (Wilcoxon over "
            "problems, Holm's correction)."
        )
    return sentences
