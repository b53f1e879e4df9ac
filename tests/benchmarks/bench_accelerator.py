"""Speed and correctness on an accelerator, or in a small version on a CPU.

    python tests/benchmarks/bench_accelerator.py [--out FILE.json] [--only "isotherms; updates"]

Compares isotherms, gradients and update directions with references, and times isotherms, updates,
whole commands and linear algebra, each beside its goal for one H100. The result is written after
every measurement, as FILE.json and as tables in FILE.md. A measurement that fails is a row with its
message; if it breaks or hangs the measuring process, that process is replaced. All of it takes less
than eight minutes on an H100.

    python tests/benchmarks/bench_accelerator.py --render GPU.json --against CPU.json

prints the tables of two results: what the first measured beside its goals, then both devices.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from accelerator.rows import Row
from accelerator.supervisor import Supervisor
from accelerator.tables import TITLES, comparison, markdown, quantity


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    patterns = f"sections ({', '.join(TITLES)}) or parts of names, separated by ;"
    parser.add_argument("--only", default="", help=patterns)
    parser.add_argument("--scale", choices=("small", "full"), help="default: small on a CPU")
    parser.add_argument("--seconds", type=float, default=460, help="time for all measurements")
    parser.add_argument("--limit", type=float, default=150, help="seconds of one measurement")
    parser.add_argument("--out", type=Path, default=Path("runs/results/accelerator.json"))
    parser.add_argument("--against", type=Path, help="a result of another device to compare with")
    parser.add_argument("--render", type=Path, help="print the tables of a result; measure nothing")
    parser.add_argument("--commit", help="commit of the code, where the folder has no git")
    parser.add_argument("--note", help="a remark on the machine for the record")
    return parser.parse_args()


def read(path: Path) -> dict[str, Any]:
    """Read a result."""
    return json.loads(path.read_text(encoding="utf-8"))


def tables(result: dict[str, Any], against: Path | None) -> str:
    """Return the tables of a result."""
    return markdown(result) + (f"\n{comparison(result, read(against))}" if against else "")


def main() -> None:
    """Measure and write, or print the tables of a result."""
    options = arguments()
    if options.render:
        print(tables(read(options.render), options.against), end="")
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    extra = {k: v for k in ("commit", "note") if (v := getattr(options, k))}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    shown: set[str] = set()

    def report(result: dict[str, Any]) -> None:
        result["machine"] |= extra
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        text = tables(result, options.against)
        options.out.with_suffix(".md").write_text(text, encoding="utf-8")
        for row in map(Row.from_json, result["rows"]):
            if row.status != "not measured" and row.name not in shown:
                shown.add(row.name)
                print(f"{row.name:75s} {quantity(row)}", flush=True)

    only = [pattern.strip() for pattern in options.only.split(";")]
    supervisor = Supervisor(options.seconds, options.limit, report)
    supervisor.run(options.scale, list(filter(None, only)))
    print(f"wrote {options.out} and {options.out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
