"""Words: scores as sentences. Who wins where, by how much, and how sure that is."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from physopt.analysis.costs import COSTS
from physopt.analysis.tests_of_difference import OVERALL

LEVEL = 0.05
"""A corrected p-value below this counts as sure."""


def amount(value: float) -> str:
    """Write a number in three digits; infinity is "never", what is missing a dash."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never"
    text = f"{value:.3g}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.2e}"
    if 1e3 <= abs(value) < 1e5:
        text = f"{value:.0f}"
    return text.replace("e-0", "e-").replace("e+0", "e")


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Write a table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def duration(value: float, axis: str) -> str:
    """Write a cost with its unit."""
    text = amount(value)
    return text if text in ("–", "never") else f"{text} {COSTS[axis].unit}"


def interval(low: float, high: float) -> str:
    """Write an interval; empty where there is none."""
    if math.isnan(low):
        return ""
    return f"[{amount(low)}, {amount(high).replace('never', '∞')}]"


def factor(value: float) -> str:
    """Write a ratio."""
    return "∞" if math.isinf(value) else amount(value)


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
        return ["No method came to a finite error in most of its runs."]
    told = f"{name} {interval(first['low'], first['high'])}".rstrip()
    if len(group) == 1:
        return [f"{first['method']} ends at {told}."]
    second = group.iloc[1]
    if math.isinf(second["median"]):
        return [f"{first['method']} ends lowest, at {told}; all others mostly failed."]
    ratio = second["median"] / first["median"] if first["median"] > 0 else math.inf
    sure = _certainty(case, first, second, tests)
    if ratio < 1.005:
        return [f"{first['method']} and {second['method']} end alike, at {told}: {sure}."]
    return [
        f"{first['method']} ends lowest, at {told}, {factor(ratio)} times below "
        f"{second['method']}: {sure}."
    ]


def _certainty(case: str, first: pd.Series, second: pd.Series, tests: pd.DataFrame) -> str:
    """Say how sure the order of two methods is."""
    names = {first["method"], second["method"]}
    chosen = tests[
        (tests["case"] == case) & tests["first"].isin(names) & tests["second"].isin(names)
    ]
    p, pairs = chosen[["corrected", "pairs"]].iloc[0] if len(chosen) else (1.0, 0)
    if p < LEVEL:
        return f"sure, p = {p:.2g} over {pairs:g} seeds after correction for {len(tests)} tests"
    if math.isnan(first["high"]) or math.isnan(second["low"]):
        return "one run each says nothing about chance"
    apart = first["high"] < second["low"]
    few = f"{pairs:g} paired seeds do not make it sure (corrected p = {p:.2g})"
    return (
        f"likely, the intervals are apart, but {few}"
        if apart
        else f"open, intervals overlap, {few}"
    )


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
    told = f"{first['method']} comes first to {target}, in {spent}"
    others = group.iloc[1:]
    others = others[np.isfinite(others["penalised"])]
    if others.empty:
        return [f"{told}; {'no other reached it' if len(group) > 1 else 'alone'}."]
    second = others.iloc[0]
    if first["penalised"] <= 0:
        return [f"{told}."]
    ratio = second["penalised"] / first["penalised"]
    missed = len(group) - 1 - len(others)
    rest = f"; {missed} never reached it" if missed else ""
    return [f"{told}, {factor(ratio)} times sooner than {second['method']}{rest}."]


def _failure_sentences(group: pd.DataFrame) -> list[str]:
    failed = group[group["failed"] > 0]
    told = [f"{row['method']} {row['failed']} of {row['runs']}" for _, row in failed.iterrows()]
    return [f"Failed runs: {', '.join(told)}."] if told else []


def overall(ranks: pd.DataFrame, profile: pd.DataFrame, tests: pd.DataFrame) -> list[str]:
    """Return sentences over all cases, from tables of `ranks`, `performance_profile` and tests."""
    if len(ranks) < 2:
        return []
    cases = ranks.shape[1] - 1
    best, next_best = ranks.index[0], ranks.index[1]
    on = f"{cases} problems" if cases > 1 else "this problem"
    first, second = f"{ranks['mean'].iloc[0]:.2g}", f"{ranks['mean'].iloc[1]:.2g}"
    if first == second:
        told = f"{best} and {next_best} share the best mean rank by final error, {first}"
    else:
        told = (
            f"{best} has the best mean rank by final error, {first}, before {next_best}, {second}"
        )
    sentences = [f"Over {on} {told} (of {len(ranks)} methods)."]
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
            "No difference between two methods is sure across all problems (Wilcoxon over "
            "problems, Holm's correction)."
        )
    return sentences
