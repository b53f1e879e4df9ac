"""Report data: the numbers and texts that the page draws."""

import math
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.comparison import Comparison
from physopt.analysis.costs import cost_label
from physopt.analysis.profiles import performance_profile
from physopt.analysis.report.parts import Part, Parts
from physopt.analysis.resampling import endpoints, resample, without_point
from physopt.analysis.samples import tail
from physopt.analysis.scaling import batch_scaling, device_scaling
from physopt.analysis.style import ENDS, method_styles
from physopt.analysis.targets import metric_column

POINTS = 110
TAIL_POINTS = 60
DASHES = {"-": [], "--": [7, 3], "-.": [7, 3, 2, 3], ":": [2, 2]}


def page_data(parts: Parts, samples: pd.DataFrame) -> dict[str, Any]:
    """Return everything that the page's script draws; it may contain text from records.

    samples: of `sample_errors`.
    """
    frame = parts.all.frame
    drawn = {name: part.comparison for name, part in parts.drawn.items()}
    axes = {name: comparison for name, comparison in drawn.items() if len(comparison.frame)}
    styles = method_styles(frame["method"])
    return {
        "axis": parts.axis,
        "axes": {name: cost_label(c.axis, c.compile_time) for name, c in axes.items()},
        "methods": [
            {"name": name, "colour": style["color"], "dash": DASHES[style["ls"]]}
            for name, style in styles.items()
        ],
        "cases": _cases(parts, axes),
        "profiles": {name: _profile(parts.scored[name]) for name in axes},
        "samples": _samples(samples),
        "batches": _scaling(batch_scaling(parts.scored["seconds"].comparison), "batch_size"),
        "devices": _scaling(device_scaling(parts.devices.comparison), "device"),
    }


def _cases(parts: Parts, axes: dict[str, Comparison]) -> list[dict[str, Any]]:
    curves = {name: resample(comparison, points=POINTS) for name, comparison in axes.items()}
    ends = {name: endpoints(comparison) for name, comparison in axes.items()}
    costs = {name: table.set_index("folder")["cost"] for name, table in ends.items()}
    cases = []
    for case, of_case in parts.all.frame.groupby("case", sort=False):
        target = of_case["target_value"].dropna()
        ends_of_case = ends["seconds"][ends["seconds"]["case"] == case]
        cases.append(
            {
                "name": case,
                "metric": metric_column(of_case),
                "target": _number(target.iloc[0]) if len(target) else None,
                "left_out": {name: parts.drawn[name].left_out.get(str(case)) for name in axes},
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
            "cost": {n: _number(cost.get(row["folder"], np.nan)) for n, cost in costs.items()},
        }
        for _, row in ends.dropna(subset=["value"]).iterrows()
    ]


def _profile(part: Part) -> dict[str, Any]:
    table = performance_profile(part.comparison)
    lines = [
        {"method": method, "ratio": _numbers(line["ratio"]), "fraction": _numbers(line["fraction"])}
        for method, line in table.groupby("method")
    ]
    return {"lines": lines, "left_out": part.sentences()}


def _samples(samples: pd.DataFrame) -> list[dict[str, Any]]:
    """Return for each case the tails of its methods' errors on single samples."""
    cases = []
    for case, of_case in samples.groupby("case", sort=False):
        lines = []
        for method, group in of_case.groupby("method"):
            line = tail(group["error"], TAIL_POINTS)
            runs = f"{group['folder'].nunique()} runs, {len(group)} samples"
            columns = {name: _numbers(line[name]) for name in ("error", "share")}
            lines.append({"method": method, "runs": runs, **columns})
        cases.append({"name": case, "metric": of_case["metric"].iloc[0], "lines": lines})
    return cases


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
