"""Time to the first update: a first run, and a second one of the same shapes with another seed.

    python tests/benchmarks/bench_start.py [--repeats 3] [--case ldft2d:adam]

The first finds no kept programs, the second those of the first; each is a process of its own, and
first and second runs take turns. The aim is a ratio of medians of at least 2, from the start of the
process to the end of the first update. Four parts of these seconds are printed: `imports` from the
start of the process to the end of Python's imports; `compile`, a run's t_compile; `evaluate`, its
t_eval, the first evaluation with its compilation; `rest`: the network, held-out sets, the rule's
plan and initial state, with theirs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

CASES = ("ldft2d:adam", "ldft3d:hig", "oscillators:hig")
PARTS = ("total", "imports", "compile", "evaluate", "rest")

CHILD = """
import json, os, sys, time
from physopt.training.run import begin
from physopt.config import from_words
from physopt.training.display import Silent

config, imported = from_words(sys.argv[1:]), time.time()

class First(Silent):
    def piece(self, clock, budget):
        now = time.time()
        print(json.dumps({"now": now, "imported": imported, "compile": clock.t_compile,
                          "evaluate": clock.t_eval, "kept": clock.compile_cached}), flush=True)
        os._exit(0)

begin(config, First())
"""


def first_update(case: str, seed: int, folder: str) -> dict[str, float]:
    """Return the seconds that a fresh process needs for its first update, whole and in parts."""
    problem, rule = case.split(":")
    words = [f"problem={problem}", f"rule={rule}", f"seed={seed}", f"out={folder}/out"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    environment["XDG_CACHE_HOME"] = folder
    start = time.time()
    child = [sys.executable, "-c", CHILD, *words, "log_every=2"]
    done = subprocess.run(child, env=environment, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    parts = {
        "total": measured["now"] - start,
        "imports": measured["imported"] - start,
        "compile": measured["compile"],
        "evaluate": measured["evaluate"],
        "kept": measured["kept"],
    }
    return {**parts, "rest": parts["total"] - sum(parts[name] for name in PARTS[1:4])}


def measure(cases: list[str], repeats: int) -> dict[str, tuple[list[dict], list[dict]]]:
    """Return the first and the second runs of each case."""
    found: dict[str, tuple[list[dict], list[dict]]] = {case: ([], []) for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        first_update("toy:adam", 0, folder)  # Python's own files come from the disk once
    for repeat in range(repeats):
        for case, runs in found.items():
            with tempfile.TemporaryDirectory() as folder:
                for which, into in enumerate(runs):
                    into.append(first_update(case, 2 * repeat + which, folder))
                    assert into[-1]["kept"] == which, "a first run found programs, or a second none"
    return found


def main() -> None:
    """Measure, and print medians and their ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--case", action="append", help="PROBLEM:RULE; again for more than one")
    arguments = parser.parse_args()
    print(f"{'seconds':24s}" + "".join(f"{part:>10s}" for part in PARTS))
    for case, runs in measure(arguments.case or list(CASES), arguments.repeats).items():
        medians = [
            {part: statistics.median(run[part] for run in of) for part in PARTS} for of in runs
        ]
        for label, median in zip(("first", "second"), medians, strict=True):
            print(f"{case:16s}{label:8s}" + "".join(f"{median[part]:10.2f}" for part in PARTS))
        ratios = {part: medians[0][part] / max(medians[1][part], 1e-9) for part in PARTS}
        print(f"{'':16s}{'ratio':8s}" + "".join(f"{ratios[part]:10.2f}" for part in PARTS))


if __name__ == "__main__":
    main()
