"""Reproduce: the commands that repeat a run or a figure exactly."""

import json
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from physopt.analysis.comparison import Comparison
from physopt.records import Record, RunFolder

_NOT_TYPED = ("out", "force", "debug", "seed", "target", "tuning", "problem", "rule")


def commands(frame: pd.DataFrame) -> list[dict[str, str]]:
    """Return for each case and method the command that repeats its runs: case, method, command.

    Every option is explicit, so the command does not depend on defaults. Runs that differ in the
    seed alone share a command with a loop over seeds.
    """
    runs = frame[frame["status"] != "damaged"].drop_duplicates("folder")
    rows = []
    for (case, method), group in runs.groupby(["case", "method"], sort=True):
        by_options: dict[str, list[int]] = {}
        for row in group.sort_values("seed").to_dict("records"):
            config = Record(RunFolder(row["folder"])).config
            by_options.setdefault(_options(config), []).append(config.get("seed", 0))
        for options, seeds in by_options.items():
            command = f"python -m physopt run {options} seed="
            if len(seeds) > 1:
                listed = " ".join(str(seed) for seed in dict.fromkeys(seeds))
                command = f"for seed in {listed}; do {command}$seed; done"
            else:
                command += str(seeds[0])
            rows.append({"case": str(case), "method": str(method), "command": command})
    return rows


def _options(config: dict[str, Any]) -> str:
    """Return the options of a run as they are typed."""
    words = []
    for kind in ("problem", "rule"):
        options = config.get(kind)
        options = dict(options) if isinstance(options, dict) else {}
        words.append(f"{kind}={options.pop('name', '')}")
        words += [f"{kind}.{name}={_typed(value)}" for name, value in options.items()]
    words += [f"{name}={_typed(v)}" for name, v in config.items() if name not in _NOT_TYPED]
    return " ".join(shlex.quote(word) for word in words)


def _typed(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(_typed(item) for item in value) + "]"
    return str(value)


def figures(comparison: Comparison, out: Path | str) -> dict[str, str]:
    """Return for each part of a report the command that repeats it."""
    axis, compile_time, allow = comparison.axis, comparison.compile_time, comparison.allow
    sources = list(dict.fromkeys(comparison.frame["source"]))
    folders = ", ".join(json.dumps(source) for source in sources)
    allowed = f", allow={json.dumps(sorted(allow))}" if allow else ""
    how = f", {json.dumps(axis)}" if axis != "seconds" else ""
    how += ", compile_time=True" if compile_time else ""
    words = [*sources, *([f"axis={axis}"] if axis != "seconds" else [])]
    words += ["compile=true"] if compile_time else []
    words += [f"allow=[{','.join(sorted(allow))}]"] if allow else []
    options = " ".join(shlex.quote(word) for word in words)

    def python(expression: str) -> str:
        code = f"from physopt import analysis as a; f = a.load({folders}); {expression}"
        return f"python -c {shlex.quote(code)}"

    profile = f'a.plot_profile(a.performance_profile(f{how}{allowed})).savefig("profile.png")'
    batches = f'a.plot_scaling(a.batch_scaling(f{allowed})).savefig("batch_size.png")'
    return {
        "report": f"python -m physopt report {options} out={shlex.quote(str(out))}",
        "scores": f"python -m physopt score {options}",
        "curves": python(f'a.curves(f{how}).savefig("curves.png")'),
        "profile": python(profile),
        "batches": python(batches),
        "devices": python("print(a.device_scaling(f).to_string())"),
    }
