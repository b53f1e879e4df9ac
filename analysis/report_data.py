"""Report data: what the page draws, as plain numbers and texts."""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from physopt.analysis.costs import cost_label
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


def page_data(
    frame: pd.DataFrame, axis: str, compile_time: bool, allow: Collection[str]
) -> dict[str, Any]:
    """Return all that the page's script draws; it may hold text from records."""
    ways = _ways(frame)
    styles = method_styles(apart(frame)["method"])
    cases = list(frame["case"].unique())
    chosen = "compiled" if compile_time and axis == "seconds" else axis
    return {
        "axis": chosen if chosen in ways else "seconds",
        "axes": {name: cost_label(*way) for name, way in ways.items()},
        "methods": [
            {"name": name, "colour": style["color"], "dash": _DASHES[style["ls"]]}
            for name, style in styles.items()
        ],
        "cases": _cases(frame, cases, ways),
        "profiles": {name: _profile(frame, way, allow) for name, way in ways.items()},
        "batches": _scaling(batch_scaling(frame, allow=allow), "batch_size"),
        "devices": _scaling(device_scaling(frame), "device"),
    }


def _ways(frame: pd.DataFrame) -> dict[str, tuple[str, bool]]:
    """Return the costs that the page offers: (axis, compilation counted) by name."""
    ways = {"seconds": ("seconds", False), "compiled": ("seconds", True)}
    try:
        resample(frame.head(0), "seconds", compile_time=True)
        performance_profile(frame.head(0), "seconds", compile_time=True)
        endpoints(frame, "seconds", compile_time=True)
    except OptionError:  # nothing was compiled cold
        ways.pop("compiled")
    return {**ways, "updates": ("updates", False), "calls": ("calls", False)}


def _cases(
    frame: pd.DataFrame, names: list[str], ways: dict[str, tuple[str, bool]]
) -> list[dict[str, Any]]:
    curves = {
        name: resample(frame, axis, compile_time=compiled, points=POINTS)
        for name, (axis, compiled) in ways.items()
    }
    ends = {
        name: endpoints(frame, axis, compile_time=compiled)
        for name, (axis, compiled) in ways.items()
    }
    found = []
    for case in names:
        of_case = frame[frame["case"] == case]
        metric = curves["seconds"].loc[curves["seconds"]["case"] == case, "metric"]
        target = of_case["target_value"].dropna()
        found.append(
            {
                "name": case,
                "metric": str(metric.iloc[0]) if len(metric) else "",
                "target": _number(target.iloc[0]) if len(target) else None,
                "curves": {n: _lines(t[t["case"] == case]) for n, t in curves.items()},
                "ends": _ends({n: t[t["case"] == case] for n, t in ends.items()}),
                "lost": _lost(ends["updates"][ends["updates"]["case"] == case]),
            }
        )
    return found


def _lines(table: pd.DataFrame) -> list[dict[str, Any]]:
    lines = []
    for method, line in table.groupby("method", sort=True):
        drawn = line[np.isfinite(line["median"])]
        # The band's upper edge is infinite where many runs have failed: null, drawn to the top.
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
    """Name the runs that have no point."""
    lost = ends[ends["value"].isna()].assign(status=ends["status"].replace("skipped", "refused"))
    groups = lost.groupby(["method", "status"]).size()
    return [f"{method}: {count} {status}" for (method, status), count in groups.items()]


def _profile(
    frame: pd.DataFrame, way: tuple[str, bool], allow: Collection[str]
) -> list[dict[str, Any]]:
    table = performance_profile(frame, way[0], compile_time=way[1], allow=allow)
    return [
        {"method": method, "ratio": _numbers(line["ratio"]), "fraction": _numbers(line["fraction"])}
        for method, line in table.groupby("method", sort=True)
    ]


def _scaling(table: pd.DataFrame, by: str) -> list[dict[str, Any]]:
    """Return the panels of a table of `batch_scaling` or `device_scaling`: one a case."""
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
        told = f"{target.iloc[0]:.3g}" if len(target) else ""
        panels.append({"name": case, "target": told, "series": series})
    return panels


def _numbers(values: pd.Series) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: Any) -> float | None:
    """Return a number in four digits, null for what is missing or infinite."""
    value = float(value)
    return float(f"{value:.4g}") if math.isfinite(value) else None
