"""Report tables: scores, runs and environments as rows of text, for the page's template."""

import contextlib
import math
import os
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd
from markupsafe import Markup

from physopt.analysis.report.reproduce import typed
from physopt.analysis.samples import QUANTILES
from physopt.analysis.sensitivity import STEPS
from physopt.analysis.words import amount, duration, interval, refused_cells, score_cells
from physopt.records import Record, RunFolder
from physopt.records.status import RESULTS, shown_status

PICTURE_ENDINGS = (".png", ".gif")
"""Endings of the pictures in a run's folder that the table of runs links to."""

WORST_FACTOR = 50.0
"""Ratio to the best error at which the heat map has its lightest shade."""


def heat_map(
    scores: pd.DataFrame, ranks: pd.DataFrame, refused: set[tuple[str, str]]
) -> dict[str, Any]:
    """Return the map of final errors: a row for each case, a column for each method by mean rank.

    A cell has text, a second line, a tooltip, and a shade from 0 (worst) to 1 (best).
    """
    means = {str(method): f"{mean:.2g}" for method, mean in ranks["mean"].items()}
    methods = [*means, *sorted({method for _, method in refused} - set(means))]
    rows = []
    for case, group in scores.groupby("case", sort=False):
        scored = group.set_index("method").to_dict("index")
        best = group["median"].min()
        cells = [_cell(scored.get(m), best, (case, m) in refused) for m in methods]
        rows.append({"case": case, "metric": group["metric"].iloc[0], "cells": cells})
    return {"methods": methods, "rows": rows, "means": [means.get(m, "") for m in methods]}


def _cell(row: dict[str, Any] | None, best: float, refused: bool) -> dict[str, Any]:
    if row is None:
        reason = "refused" if refused else "no run"
        return {"text": "–", "below": reason, "title": reason, "shade": None}
    failed = f"{row['failed']} of {row['runs']} failed" if row["failed"] else ""
    if math.isinf(row["median"]):
        return {"text": "failed", "below": failed, "title": failed, "shade": None}
    ratio = row["median"] / best if best > 0 else (1.0 if row["median"] == best else math.inf)
    shade = max(0.0, 1 - math.log(ratio) / math.log(WORST_FACTOR)) if ratio < math.inf else 0.0
    return {
        "text": amount(row["median"]),
        "below": failed or ("best" if ratio == 1 else f"{amount(ratio, '∞')}×"),
        "title": f"{row['runs']} runs, 95 % {interval(row['low'], row['high']) or 'unknown'}",
        "shade": round(shade, 3),
    }


def score_rows(
    scores: pd.DataFrame, axis: str, refused: set[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return for each case its target, and a row of texts for each method, refused ones last."""
    cases = []
    for case, group in scores.groupby("case", sort=False):
        first = group.iloc[0]
        own = " (the problem's own)" if bool(first["own"]) else ""
        rows = []
        for row in group.to_dict("records"):
            *cells, _, time_interval = score_cells(row)
            reached = f"{row['reached']} of {row['runs']}"
            rows.append([*cells, duration(row["penalised"], axis), time_interval, reached])
        others = {method for refused_case, method in refused if refused_case == case}
        rows += [[*refused_cells(m), ""] for m in sorted(others - set(group["method"]))]
        target = f"{first['metric']} ≤ {amount(first['target'])}{own}"
        cases.append({"case": case, "metric": first["metric"], "target": target, "rows": rows})
    return cases


def sample_rows(
    quantiles: pd.DataFrame, totals: dict[tuple[str, str], int]
) -> list[dict[str, Any]]:
    """Return for each case its metric, and a row of texts for each method.

    quantiles: of `sample_quantiles`. totals: the number of runs of each (case, method).
    """
    cases = []
    for case, group in quantiles.groupby("case", sort=False):
        rows = []
        for row in group.to_dict("records"):
            runs = f"{row['runs']} of {totals[case, row['method']]}"
            shown = [amount(row[name], "∞") for name in QUANTILES]
            rows.append([row["method"], runs, str(row["samples"]), *shown])
        cases.append({"case": case, "metric": group["metric"].iloc[0], "rows": rows})
    return cases


def run_rows(runs: pd.DataFrame, beside: Path | str = ".") -> list[dict[str, str]]:
    """Return every run of `run_errors` as texts, those without a result first.

    `run` links to the run's folder and `pictures` to its figures, by paths from the folder
    `beside`; `options` are those of the rule. All three are Markup.
    """
    runs = runs.assign(completed=runs["status"].isin(RESULTS))
    runs = runs.sort_values(["completed", "case", "method", "seed"], kind="stable")
    return [
        {
            "problem": row["case"],
            "method": row["method"],
            "seed": _whole(row["seed"]),
            "status": shown_status(row["status"]),
            "reason": row["reason"],
            "updates": _whole(row["step"]),
            "training": _seconds(row["t_train"]),
            "compilation": _seconds(row["t_compile"]),
            "error": amount(row["final_error"]).replace("never", "–"),
            "run": _link(row["folder"], beside, row["run_id"]),
            "pictures": _pictures(row["folder"], beside),
            "options": _options(row["folder"]),
            "device": row["device"],
            "source": row["source_version"] or "–",
            "finished": row["finished"][:16].replace("T", " "),
        }
        for row in runs.to_dict("records")
    ]


def _link(path: Path | str, beside: Path | str, text: str) -> Markup:
    """Return a link to a file or folder, relative to the folder of the page."""
    parts = Path(os.path.relpath(path, beside)).as_posix()
    address = quote(os.fsencode(parts if parts.startswith("../") else f"./{parts}"))
    return Markup('<a href="{}">{}</a>').format(address, text)


def _pictures(folder: str, beside: Path | str) -> Markup:
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(folder) if name.endswith(PICTURE_ENDINGS))
        links = [_link(Path(folder, name), beside, name.rpartition(".")[0]) for name in names]
        return Markup(", ").join(links)
    return Markup("")


def _options(folder: str) -> Markup:
    """Return the options of a run's rule: the length of its steps, which unfolds to all."""
    options = Record(RunFolder(folder)).config.get("rule")
    options = {k: v for k, v in options.items() if k != "name"} if isinstance(options, dict) else {}
    names = sorted(options, key=lambda name: name not in STEPS)  # stable
    words = [f"{name}={typed(options[name])}" for name in names]
    if len(words) < 2:
        return Markup("{}").format(" ".join(words))
    fold = Markup("<details><summary>{} …</summary>{}</details>")
    return fold.format(words[0], " ".join(words[1:]))


def _whole(value: Any) -> str:
    return "–" if pd.isna(value) else f"{value:g}" if value < 1e5 else f"{value:.0f}"


def _seconds(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3g} s"


def environment(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the environments of the runs: each entry of env.json with its different values."""
    entries: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for folder in frame["folder"].unique():
        for name, value in Record(RunFolder(folder)).environment.items():
            entries[name][str(value).partition("\n")[0] or "–"] += 1
    return [(name, _values(counts)) for name, counts in entries.items() if name != "seed"]


def _values(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    values = ", ".join(f"{text} ({count} runs)" for text, count in counts.most_common(5))
    return values + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
