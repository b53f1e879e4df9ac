"""Seconds of whole commands in a fresh process, without a cache of compiled programs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from accelerator.rows import Case, Row

SECTION = "commands"
ROOT = Path(__file__).resolve().parents[3]

FIRST = ("problem=ldft3d", "rule=hig")
SHORT = ("steps=20", "heldout_size=8")


def measure(words: tuple[str, ...], name: str, goal: float | None) -> list[Row]:
    """Run a command with empty caches; return its wall time and the clocks of its record."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
        environment |= {"XDG_CACHE_HOME": folder, "CUDA_CACHE_PATH": f"{folder}/cuda"}
        command = [sys.executable, "-m", "physopt", "run", *words, f"out={folder}/out"]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stderr[-200:]}")
        curve = next(Path(folder, "out").rglob("curve.jsonl")).read_text().splitlines()
    last = json.loads(curve[-1])
    update = 1e3 * last["t_train"] / last["step"]
    return [
        Row(f"{name}, wall time", SECTION, "s", seconds, goal),
        Row(f"{name}, compilation of the updates", SECTION, "s", last["t_compile"]),
        Row(f"{name}, evaluations", SECTION, "s", last["t_eval"]),
        Row(f"{name}, an update", SECTION, "ms", update),
    ]


def cases(small: bool) -> list[Case]:
    """Return README's first command, shortened in the small version, and a second compilation."""
    first = FIRST + SHORT if small else FIRST
    second = ("problem=ldft2d", "rule=adam", *SHORT)
    return [
        Case(name, SECTION, partial(measure, words, name, goal))
        for words, goal in ((first, None if small else 25.0), (second, None))
        for name in [f"cold run {' '.join(words)}"]
    ]
