"""Reproduce: the commands that repeat a run or a figure exactly."""

import json
import shlex
from collections import defaultdict
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
    runs = frame[frame["status"] != "damaged"].drop_duplicates("folder").sort_values("seed")
    rows = []
    for (case, method), group in runs.groupby(["case", "method"]):
        seeds_of: defaultdict[str, set[int]] = defaultdict(set)
        for folder in group["folder"]:
            config = Record(RunFolder(folder)).config
            seeds_of[_options(config)].add(config.get("seed", 0))
        for options, seeds in seeds_of.items():
            command = f"python -m physopt run {options} seed="
            listed = " ".join(map(str, sorted(seeds)))
            loop = f"for seed in {listed}; do {command}$seed; done"
            command = loop if len(seeds) > 1 else f"{command}{listed}"
            rows.append({"case": str(case), "method": str(method), "command": command})
    return rows


def _options(config: dict[str, Any]) -> str:
    """Return the options of a run as they are typed."""
    words = []
    for kind in ("problem", "rule"):
        options = config.get(kind)
        options = dict(options) if isinstance(options, dict) else {}
        words.append(f"{kind}={options.pop('name', '')}")
        words += [f"{kind}.{name}={typed(value)}" for name, value in options.items()]
    words += [f"{name}={typed(v)}" for name, v in config.items() if name not in _NOT_TYPED]
    return shlex.join(words)


def typed(value: Any) -> str:
    """Return an option's value as it is typed."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(typed(item) for item in value) + "]"
    return str(value)


def figures(comparison: Comparison, out: Path | str) -> dict[str, str]:
    """Return for each part of a report the command that repeats it."""
    sources, allow = list(comparison.frame["source"].unique()), sorted(comparison.allow)
    words, how, allowed = list(sources), "", ""
    if comparison.axis != "seconds":
        words.append(f"axis={comparison.axis}")
        how += f", {json.dumps(comparison.axis)}"
    if comparison.compile_time:
        words.append("compile=true")
        how += ", compile_time=True"
    if allow:
        words.append(f"allow=[{','.join(allow)}]")
        allowed = f", allow={json.dumps(allow)}"
    options, folders = shlex.join(words), ", ".join(map(json.dumps, sources))

    def python(expression: str) -> str:
        code = f"from physopt import analysis as a; f = a.load({folders}); {expression}"
        return f"python -c {shlex.quote(code)}"

    profile = f'a.plot_profile(a.performance_profile(f{how}{allowed})).savefig("profile.png")'
    samples = f'a.plot_samples(a.sample_errors(f{allowed})).savefig("samples.png")'
    batches = f'a.plot_scaling(a.batch_scaling(f{allowed})).savefig("batch_size.png")'
    return {
        "report": f"python -m physopt report {options} out={shlex.quote(str(out))}",
        "scores": f"python -m physopt score {options}",
        "curves": python(f'a.curves(f{how}).savefig("curves.png")'),
        "profile": python(profile),
        "samples": python(samples),
        "batches": python(batches),
        "devices": python("print(a.device_scaling(f).to_string())"),
    }
