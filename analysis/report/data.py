"""Report data: the numbers and texts that the page draws."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison
from physopt.analysis.costs import cost, cost_label
from physopt.analysis.fairness import apart
from physopt.analysis.profiles import performance_profile
from physopt.analysis.resampling import endpoints, resample
from physopt.analysis.scaling import batch_scaling, device_scaling
from physopt.analysis.style import method_styles
from physopt.options import OptionError

POINTS = 110
_DASHES = {"-": [], "--": [7, 3], "-.": [7, 3, 2, 3], ":": [2, 2]}
_MARKS = {
    "diverged": "x",
    "oom": "square",
    "timeout": "dash",
    "error": "cross",
    "interrupted": "triangle",
    "running": "triangle",
    "damaged": "diamond",
}


def page_data(comparison: Comparison) -> dict[str, Any]:
    """Return everything that the page's script draws; it may contain text from records."""
    frame = comparison.frame
    axes = _axes(comparison)
    styles = method_styles(apart(frame)["method"])
    compiled = comparison.compile_time and comparison.axis == "seconds"
    first = "compiled" if compiled else comparison.axis
    return {
        "axis": first if first in axes else "seconds",
        "axes": {name: cost_label(c.axis, c.compile_time) for name, c in axes.items()},
        "methods": [
            {"name": name, "colour": style["color"], "dash": _DASHES[style["ls"]]}
            for name, style in styles.items()
        ],
        "cases": _cases(frame, axes),
        "profiles": {name: _profile(c) for name, c in axes.items()},
        "batches": _scaling(batch_scaling(axes["seconds"]), "batch_size"),
        "devices": _scaling(device_scaling(axes["seconds"]), "device"),
    }


def _axes(comparison: Comparison) -> dict[str, Comparison]:
    """Return the comparison along each axis that the page offers."""
    offered = {"seconds": ("seconds", False), "compiled": ("seconds", True)}
    offered |= {axis: (axis, False) for axis in ("updates", "calls")}
    axes = {n: replace(comparison, axis=a, compile_time=c) for n, (a, c) in offered.items()}
    try:
        cost(apart(comparison.frame), "seconds", compile_time=True)
        cost(comparison.runs, "seconds", compile_time=True)
    except OptionError:  # every compilation came from a cache
        axes.pop("compiled")
    return axes


def _cases(frame: pd.DataFrame, axes: dict[str, Comparison]) -> list[dict[str, Any]]:
    curves = {name: resample(comparison, points=POINTS) for name, comparison in axes.items()}
    ends = {name: endpoints(comparison) for name, comparison in axes.items()}
    cases = []
    for case in frame["case"].unique():
        of_case = frame[frame["case"] == case]
        metric = curves["seconds"].loc[curves["seconds"]["case"] == case, "metric"]
        target = of_case["target_value"].dropna()
        cases.append(
            {
                "name": case,
                "metric": str(metric.iloc[0]) if len(metric) else "",
                "target": _number(target.iloc[0]) if len(target) else None,
                "curves": {n: _lines(t[t["case"] == case]) for n, t in curves.items()},
                "ends": _ends({n: t[t["case"] == case] for n, t in ends.items()}),
                "lost": _lost(ends["updates"][ends["updates"]["case"] == case]),
            }
        )
    return cases


def _lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    lines = []
    for method, line in table.groupby("method", sort=True):
        drawn = line[np.isfinite(line["median"])]
        # The upper edge is infinite once many runs have failed: null, drawn to the top.
        columns = {name: _numbers(drawn[name]) for name in ("cost", "low", "median", "high")}
        lines.append({"method": method, "runs": int(line["runs"].max()), **columns})
    return lines


def _ends(tables: dict[str, pd.DataFrame]) -> list[dict[str, Any]]:
    first = next(iter(tables.values()))
    shown = first[first["value"].notna()]
    return [
        {
            "method": row["method"],
            "status": row["status"],
            "reason": row["reason"],
            "seed": _number(row["seed"]),
            "mark": _MARKS[row["status"]],
            "value": _number(row["value"]),
            "cost": {name: _number(table.loc[index, "cost"]) for name, table in tables.items()},
        }
        for index, row in shown.iterrows()
    ]


def _lost(ends: pd.DataFrame) -> list[str]:
    """Return the runs without a point, counted by method and status."""
    lost = ends[ends["value"].isna()].assign(status=ends["status"].replace("skipped", "refused"))
    groups = lost.groupby(["method", "status"]).size()
    return [f"{method}: {count} {status}" for (method, status), count in groups.items()]


def _profile(comparison: Comparison) -> list[dict[str, Any]]:
    table = performance_profile(comparison)
    return [
        {"method": method, "ratio": _numbers(line["ratio"]), "fraction": _numbers(line["fraction"])}
        for method, line in table.groupby("method", sort=True)
    ]


def _scaling(table: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    """Return the panels of a table of `batch_scaling` or `device_scaling`: one per case."""
    panels = []
    for case, of_case in table.groupby("case", sort=False):
        names = [name for name in ("rule", "batch_size") if name != by]
        if of_case["batch_size"].nunique() < 2:
            names = ["rule"]
        series = []
        for key, group in of_case.groupby(names, sort=True):
            label = key[0] if len(key) == 1 else f"{key[0]} batch_size={key[1]:g}"
            series.append(
                {
                    "method": label,
                    "x": group[by].tolist() if by == "device" else _numbers(group[by]),
                    "throughput": _numbers(group["samples_per_second"]),
                    "cost": _numbers(group["penalised"]),
                    "reached": [
                        f"{r:g} of {n:g} runs"
                        for r, n in zip(group["reached"].fillna(0), group["runs"], strict=True)
                    ],
                }
            )
        target = of_case["target"].dropna()
        label = f"{target.iloc[0]:.3g}" if len(target) else ""
        panels.append({"name": case, "target": label, "series": series})
    return panels


def _numbers(values: pd.Series) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    """Return a number with four digits, None if it is missing or infinite."""
    value = float(value)
    return float(f"{value:.4g}") if math.isfinite(value) else None
