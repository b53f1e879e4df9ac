"""Tables: measured rows in Markdown, beside their goals and beside another device's."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from accelerator.rows import ERROR, FAILED, NOT_MEASURED, RATE, Row

TITLES = {
    "correctness": "Correctness (error and its limit)",
    "isotherms": "Isotherms a second, float32, near-binary matrices",
    "updates": "A training update",
    "problems": "Every problem with Adam and its own batch size",
    "commands": "Whole commands without a cache of compiled programs",
    "linear_algebra": "Linear algebra in float64",
}


def markdown(result: Mapping[str, Any]) -> str:
    """Return the tables of a result, {"machine": ..., "rows": ...}, by section."""
    rows = [Row.from_json(content) for content in result["rows"]]
    if result["machine"]["platform"] == "cpu":  # the goals of times and rates are an H100's
        rows = [row if row.unit == ERROR else replace(row, goal=None) for row in rows]
    lines = [f"# {title(result)}", "", *_machine(result["machine"]), ""]
    columns = "| what | goal | measured | least to greatest | compilation |"
    for section, heading in TITLES.items():
        if members := [row for row in rows if row.section == section]:
            lines += [f"## {heading}", "", columns, "| --- | --- | --- | --- | --- |"]
            lines += [*map(_line, members), ""]
    checks = [row for row in rows if row.unit == ERROR and row.goal is not None]
    goals = [row for row in rows if row.unit != ERROR and row.met is not None]
    lines.append(
        f"{sum(bool(row.met) for row in checks)} of {len(checks)} checks passed, "
        f"{sum(bool(row.met) for row in goals)} of {len(goals)} goals met, "
        f"{sum(row.status == FAILED for row in rows)} measurements failed, "
        f"{sum(row.status == NOT_MEASURED for row in rows)} not made."
    )
    return "\n".join(lines) + "\n"


def comparison(result: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """Return the rows that two results share, and how many times faster the first is."""
    theirs = {row.name: row for row in map(Row.from_json, reference["rows"])}
    lines = [
        f"| what | {title(reference)} | {title(result)} | times faster |",
        "| --- | --- | --- | --- |",
    ]
    for row in map(Row.from_json, result["rows"]):
        other = theirs.get(row.name)
        if row.unit == ERROR or other is None or not row.value or not other.value:
            continue
        gain = row.value / other.value if row.unit == RATE else other.value / row.value
        lines.append(f"| {row.name} | {quantity(other)} | {quantity(row)} | {gain:.3g} |")
    return "\n".join(lines) + "\n"


def quantity(row: Row) -> str:
    """Return the value of a row with its unit."""
    if row.status in (FAILED, NOT_MEASURED):
        return f"{row.status}: {row.message}" if row.message else row.status
    text = _number(row.value, row.unit)
    return f"{text} ({row.message})" if row.message else text


def title(result: Mapping[str, Any]) -> str:
    """Return the name of a result's device."""
    return str(result["machine"]["device_kind"])


def _line(row: Row) -> str:
    mark = {None: "", True: "", False: " **not met**"}[row.met]
    spread = "" if row.low is None else f"{_number(row.low, '')} to {_number(row.high, '')}"
    compilation = "" if row.compile_seconds is None else f"{row.compile_seconds:.2g} s"
    goal = "" if row.goal is None else _number(row.goal, row.unit)
    return f"| {row.name} | {goal} | {quantity(row)}{mark} | {spread} | {compilation} |"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{text} {unit}" if unit in ("ms", "s") else text + (unit if unit == RATE else "")


def _machine(machine: Mapping[str, Any]) -> Iterable[str]:
    labels = {
        "date": "date", "commit": "commit", "jax": "JAX", "python": "Python", "driver": "driver",
        "cpu_count": "host cores", "load": "load", "scale": "version", "note": "note",
    }  # fmt: skip
    shown = (f"{label} {machine[name]}" for name, label in labels.items() if name in machine)
    return [", ".join(shown) + "."]
