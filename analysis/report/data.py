"""Report data: the numbers and texts that the page draws."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison
from physopt.analysis.costs import COSTS, cost, cost_label
from physopt.analysis.fairness import apart
from physopt.analysis.profiles import performance_profile
from physopt.analysis.resampling import endpoints, resample, without_point
from physopt.analysis.scaling import batch_scaling, device_scaling
from physopt.analysis.style import ENDS, method_styles
from physopt.analysis.targets import metric_column
from physopt.options import OptionError

POINTS = 110
_DASHES = {"-": [], "--": [7, 3], "-.": [7, 3, 2, 3], ":": [2, 2]}


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
    axes = {axis: replace(comparison, axis=axis, compile_time=False) for axis in COSTS}
    try:
        cost(apart(comparison.frame), "seconds", compile_time=True)
        cost(comparison.runs, "seconds", compile_time=True)
    except OptionError:  # every compilation came from a cache
        return axes
    return {**axes, "compiled": replace(comparison, axis="seconds", compile_time=True)}


def _cases(frame: pd.DataFrame, axes: dict[str, Comparison]) -> list[dict[str, Any]]:
    curves = {name: resample(comparison, points=POINTS) for name, comparison in axes.items()}
    ends = {name: endpoints(comparison) for name, comparison in axes.items()}
    costs = {name: table["cost"] for name, table in ends.items()}
    cases = []
    for case, of_case in frame.groupby("case", sort=False):
        target = of_case["target_value"].dropna()
        ends_of_case = ends["seconds"][ends["seconds"]["case"] == case]
        cases.append(
            {
                "name": case,
                "metric": metric_column(of_case),
                "target": _number(target.iloc[0]) if len(target) else None,
                "curves": {n: _lines(t[t["case"] == case]) for n, t in curves.items()},
                "ends": _ends(ends_of_case, costs),
                "lost": without_point(ends_of_case),
            }
        )
    return cases


def _lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    lines = []
    for method, line in table.groupby("method"):
        drawn = line[np.isfinite(line["median"])]
        # The upper edge is infinite once many runs have failed: null, drawn to the top.
        columns = {name: _numbers(drawn[name]) for name in ("cost", "low", "median", "high")}
        lines.append({"method": method, "runs": int(line["runs"].max()), **columns})
    return lines


def _ends(ends: pd.DataFrame, costs: dict[str, pd.Series]) -> list[dict[str, Any]]:
    """Return the marks of runs that did not complete, each with its cost along every axis."""
    return [
        {
            **row[["method", "status", "reason"]].to_dict(),
            "seed": _number(row["seed"]),
            "mark": ENDS[row["status"]][1],
            "value": _number(row["value"]),
            "cost": {name: _number(cost[index]) for name, cost in costs.items()},
        }
        for index, row in ends.dropna(subset=["value"]).iterrows()
    ]


def _profile(comparison: Comparison) -> list[dict[str, Any]]:
    table = performance_profile(comparison)
    return [
        {"method": method, "ratio": _numbers(line["ratio"]), "fraction": _numbers(line["fraction"])}
        for method, line in table.groupby("method")
    ]


def _scaling(table: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    """Return the panels of a table of `batch_scaling` or `device_scaling`: one per case."""
    panels = []
    for case, of_case in table.groupby("case", sort=False):
        sizes = by == "device" and of_case["batch_size"].nunique() > 1
        series = []
        for (rule, *size), group in of_case.groupby(["rule", *["batch_size"] * sizes]):
            runs = zip(group["reached"].fillna(0), group["runs"], strict=True)
            series.append(
                {
                    "method": f"{rule} batch_size={size[0]:g}" if sizes else rule,
                    "x": group[by].tolist() if by == "device" else _numbers(group[by]),
                    "throughput": _numbers(group["samples_per_second"]),
                    "cost": _numbers(group["penalised"]),
                    "reached": [f"{reached:g} of {count:g} runs" for reached, count in runs],
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
