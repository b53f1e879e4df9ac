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


def amount(value: float) -> str:
    """Format a number with three digits; infinity as "never", a missing value as a dash."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never"
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
    text = amount(value)
    return text if text in ("–", "never") else f"{text} {COSTS[axis].unit}"


def interval(low: float, high: float) -> str:
    """Format an interval; an empty text if there is none."""
    if math.isnan(low):
        return ""
    return f"[{amount(low)}, {amount(high).replace('never', '∞')}]"


def factor(value: float) -> str:
    """Format a ratio."""
    return "∞" if math.isinf(value) else amount(value)


def score_cells(row: dict[str, Any]) -> list[str]:
    """Format a row of `score_table`: method, runs, failed, error, 95 %, time to target, 95 %."""
    return [
        row["method"],
        str(row["runs"]),
        str(row["failed"] or ""),
        amount(row["median"]).replace("never", "∞"),
        interval(row["low"], row["high"]),
        amount(row["penalised"]),
        interval(row["time_low"], row["time_high"]) if row["reached"] else "",
    ]


def findings(scores: pd.DataFrame, tests: pd.DataFrame, axis: str) -> dict[str, list[str]]:
    """Return sentences for each case, from a table of `score_table` and one of `paired_tests`."""
    return {
        str(case): [
            *_error_sentences(str(case), group.sort_values("median", kind="stable"), tests),
            *_time_sentences(group.sort_values("penalised", kind="stable"), axis),
            *_failure_sentences(group),
        ]
        for case, group in scores.groupby("case", sort=False)
    }


def _error_sentences(case: str, group: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    first = group.iloc[0]
    name = f"{first['metric']} {amount(first['median'])}"
    if math.isinf(first["median"]):
        return ["No method reached a finite error in most of its runs."]
    error = f"{name} {interval(first['low'], first['high'])}".rstrip()
    if len(group) == 1:
        return [f"{first['method']} ends at {error}."]
    second = group.iloc[1]
    if math.isinf(second["median"]):
        return [f"{first['method']} ends lowest, at {error}; all others failed in most runs."]
    ratio = second["median"] / first["median"] if first["median"] > 0 else math.inf
    certainty = _certainty(case, first, second, tests)
    if ratio < 1.005:
        return [f"{first['method']} and {second['method']} end equal, at {error}: {certainty}."]
    return [
        f"{first['method']} ends lowest, at {error}, {factor(ratio)} times below "
        f"{second['method']}: {certainty}."
    ]


def _certainty(case: str, first: pd.Series, second: pd.Series, tests: pd.DataFrame) -> str:
    """Return how certain the order of two methods is."""
    names = {first["method"], second["method"]}
    rows = tests[(tests["case"] == case) & tests["first"].isin(names) & tests["second"].isin(names)]
    p, pairs = rows[["corrected", "pairs"]].iloc[0] if len(rows) else (1.0, 0)
    if p < LEVEL:
        count = f"{pairs:g} seeds after correction for {len(tests)} tests"
        return f"significant, p = {p:.2g} over {count}"
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
    spent = f"{duration(first['penalised'], axis)} of {COSTS[axis].words}"
    if axis != "seconds":
        spent = duration(first["penalised"], axis)
    winner = f"{first['method']} reaches {target} first, in {spent}"
    others = group.iloc[1:]
    others = others[np.isfinite(others["penalised"])]
    if others.empty:
        return [
            f"{winner}; {'no other reached it' if len(group) > 1 else 'it is the only method'}."
        ]
    second = others.iloc[0]
    if first["penalised"] <= 0:
        return [f"{winner}."]
    ratio = second["penalised"] / first["penalised"]
    missed = len(group) - 1 - len(others)
    rest = f"; {missed} never reached it" if missed else ""
    return [f"{winner}, {factor(ratio)} times sooner than {second['method']}{rest}."]


def _failure_sentences(group: pd.DataFrame) -> list[str]:
    failed = group[group["failed"] > 0]
    counts = [f"{row['method']} {row['failed']} of {row['runs']}" for _, row in failed.iterrows()]
    return [f"Failed runs: {', '.join(counts)}."] if counts else []


def overall(ranks: pd.DataFrame, profile: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Return sentences over all cases, from tables of `ranks`, `performance_profile` and tests."""
    if len(ranks) < 2:
        return []
    cases = ranks.shape[1] - 1
    best, next_best = ranks.index[0], ranks.index[1]
    on = f"{cases} problems" if cases > 1 else "this problem"
    first, second = f"{ranks['mean'].iloc[0]:.2g}", f"{ranks['mean'].iloc[1]:.2g}"
    if first == second:
        order = f"{best} and {next_best} share the best mean rank by final error, {first}"
    else:
        order = f"{best} has the best mean rank by final error, {first}; next {next_best}, {second}"
    sentences = [f"Over {on} {order} (of {len(ranks)} methods)."]
    reached = profile.groupby("method")["fraction"].max().sort_values(ascending=False)
    soonest = profile[profile["ratio"] <= 1].groupby("method")["fraction"].max()
    if len(soonest) and soonest.max() > 0:
        fastest, most = str(soonest.idxmax()), str(reached.index[0])
        sentences.append(
            f"{fastest} is the fastest to {100 * soonest.max():.0f} % of the targets"
            f"{' and' if fastest == most else '; ' + most} reaches the most, "
            f"{100 * reached.iloc[0]:.0f} %."
        )
    across = tests[(tests["case"] == OVERALL) & (tests["corrected"] < LEVEL)]
    for row in across.to_dict("records"):
        better, worse = row["first"], row["second"]
        better, worse = (better, worse) if row["ratio"] > 1 else (worse, better)
        sentences.append(
            f"Across problems {better} ends below {worse}, p = {row['corrected']:.2g} over "
            f"{row['pairs']} problems."
        )
    if cases > 1 and across.empty:
        sentences.append(
            "No difference between two methods is significant across all problems (Wilcoxon over "
            "problems, Holm's correction)."
        )
    return sentences
