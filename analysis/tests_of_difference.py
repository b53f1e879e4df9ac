"""Tests of difference: is one method better than another beyond chance?"""

from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison, Runs
from physopt.analysis.statistics import holm, wilcoxon

OVERALL = "all cases"


def paired_tests(runs: Runs, reference: str | None = None, **options: Any) -> pd.DataFrame:
    """Return tests of the final errors of each pair of methods, paired by seed.

    One row per case and pair: case, first, second, pairs, ratio, pvalue, corrected. ratio is the
    median of second / first over the seeds, above 1 if the first is better; pvalue is that of
    Wilcoxon's signed-rank test of log ratios, corrected after Holm for all rows of the table. With
    n pairs no p-value is below 2^(1-n): five seeds cannot reach 5 %, six can.
    The rows of the case "all cases" pair the cases by their median log ratio (Demsar, JMLR 7, 1,
    2006). With `reference`, only the pairs that include it. `options` are those of `Comparison`.

    Raises OptionError as `comparable` does.
    """
    comparison = Comparison.of(runs, **options)
    rows: list[tuple[str, str, str, np.ndarray]] = []
    medians = defaultdict(list)
    for case, group in comparison.errors.groupby("case", sort=False):
        unique = group.drop_duplicates(["seed", "method"])
        table = unique.pivot(index="seed", columns="method", values="final_error")
        for first, second in combinations(sorted(table.columns), 2):
            if reference == second:
                first, second = second, first
            if reference not in (None, first):
                continue
            ratios = _log_ratios(table[first], table[second])
            if len(ratios):
                rows.append((str(case), first, second, ratios))
                medians[first, second].append(np.median(ratios))
    rows += [(OVERALL, *names, np.array(m)) for names, m in medians.items() if len(m) > 1]
    result = pd.DataFrame(rows, columns=["case", "first", "second", "log_ratios"])
    log_ratios = result.pop("log_ratios")
    result["pairs"] = log_ratios.map(len)
    with np.errstate(over="ignore", invalid="ignore"):
        result["ratio"] = np.exp(log_ratios.map(np.median).astype(float))
    result["pvalue"] = log_ratios.map(wilcoxon).astype(float)
    result["corrected"] = holm(result["pvalue"])
    result.attrs = dict(comparison.runs.attrs)
    return result


def _log_ratios(first: pd.Series, second: pd.Series) -> np.ndarray:
    """Return log(second / first) over the seeds of both; two failures are a tie."""
    both = pd.concat([first, second], axis=1).dropna().to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(both[:, 1]) - np.log(both[:, 0])
    return np.where(both[:, 0] == both[:, 1], 0.0, ratios)
