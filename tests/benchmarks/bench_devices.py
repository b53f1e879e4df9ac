"""The cost of an update against the number of devices over which its batch is spread.

    python tests/benchmarks/bench_devices.py [--counts 1,2,4,8] [--batch 16] [--case ldft2d:adam]

Each count is a process of its own, since JAX counts the devices of the host once, at its start; on
a machine with accelerators these are taken, as many as there are. The processes of a case take
turns, and each of their pieces makes the same updates from the same parameters. `ms/update` is the
median over pieces, `speed-up` the median over rounds of the first count's time over this one's.
`memory` is what the compiled program says that each device needs: arguments and temporary buffers.
`collectives` are those of the compiled program with the bytes of their results on one device; one
inside a loop of the physics or of the linear algebra counts once, however often it runs.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
from typing import Any

CASES = ("ldft2d:adam", "oscillators:hig", "quantum:sip")
KINDS = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
COLUMNS = "{:12s}{:8s}{:>8s}{:>12s}{:>10s}{:>14s}  {}"


def collectives(text: str) -> dict[str, tuple[int, int]]:
    """Return {kind: (count, bytes of the results)} of a compiled program's text.

    An asynchronous one is counted where it is done: its start holds operands and results.
    """
    found: dict[str, tuple[int, int]] = {}
    for result, kind in re.findall(rf"= (.*?) ({KINDS})(?:-done)?\(", text):
        count, size = found.get(kind, (0, 0))
        found[kind] = count + 1, size + _bytes(result)
    return found


def _bytes(shapes: str) -> int:
    """Return the size of arrays such as f32[4,8]{1,0}."""
    arrays = re.findall(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\]", shapes)
    return sum(
        int(bits or 8) * math.prod(int(n) for n in shape.split(",") if n) // 8
        for _, bits, shape in arrays
    )


def serve(case: str, count: int, batch: int) -> None:
    """Compile a case, print its cost, then time as many updates as each line of the input names."""
    import time

    import jax
    import jax.numpy as jnp

    from physopt.config import from_words
    from physopt.machine import devices
    from physopt.machine.mesh import mesh_of
    from physopt.training.loop import compile_program
    from physopt.training.setup import prepare

    problem, rule = case.split(":")
    words = [f"problem={problem}", f"rule={rule}", f"batch_size={batch}", "heldout_size=8"]
    config = from_words([*words, f"devices={count}"])
    chosen = devices.select(None, count)
    with devices.computing(chosen[0], config.settings.dtype):
        setup = prepare(config, mesh_of(chosen, batch))
        first = setup.initial_carry()
        program = compile_program(setup.rule, setup.objective, first, setup.source, setup.key)
        memory: Any = program.compiled.memory_analysis()
        _tell(
            {
                "temporary": memory.temp_size_in_bytes,
                "arguments": memory.argument_size_in_bytes,
                "collectives": collectives(program.compiled.as_text() or ""),
            }
        )
        for line in sys.stdin:
            carry = jax.block_until_ready(jax.tree.map(jnp.copy, first))
            start = time.perf_counter()
            jax.block_until_ready(program.call(carry, (0.0, 0.0), int(line)))
            _tell(time.perf_counter() - start)


def _tell(content: Any) -> None:
    print(json.dumps(content), flush=True)


class Process:
    """One count's process."""

    def __init__(self, case: str, count: int, batch: int):
        self.name = f"{case} on {count} devices"
        flags = f"--xla_force_host_platform_device_count={count}"
        environment = {
            **os.environ,
            "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several share an accelerator
        }
        command = [sys.executable, __file__, "--serve", case, "--counts", str(count)]
        self.child = subprocess.Popen(
            [*command, "--batch", str(batch)],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.cost = self._heard()

    def seconds(self, updates: int) -> float:
        """Return how long so many updates take."""
        assert self.child.stdin is not None
        self.child.stdin.write(f"{updates}\n")
        self.child.stdin.flush()
        return self._heard()

    def close(self) -> None:
        """End it."""
        self.child.communicate()

    def _heard(self) -> Any:
        assert self.child.stdout is not None
        if line := self.child.stdout.readline():
            return json.loads(line)
        raise SystemExit(f"{self.name}: the process ended without an answer")


def measure(case: str, counts: list[int], batch: int, rounds: int, piece: float) -> None:
    """Print the rows of a case."""
    processes = [Process(case, count, batch) for count in counts]
    for process in processes:
        process.seconds(1)  # the first call of a program takes longer
    updates = max(1, int(piece / max(process.seconds(1) for process in processes)))
    times = [[process.seconds(updates) for process in processes] for _ in range(rounds)]
    for k, (count, process) in enumerate(zip(counts, processes, strict=True)):
        process.close()
        median = statistics.median(row[k] for row in times) / updates
        gain = statistics.median(row[0] / row[k] for row in times)
        megabytes = (process.cost["temporary"] + process.cost["arguments"]) / 1e6
        talk = ", ".join(
            f"{number} x {kind} ({size / 1e3:.4g} kB)"
            for kind, (number, size) in process.cost["collectives"].items()
        )
        names = case.split(":")
        shown = f"{count}", f"{1e3 * median:.4g}", f"{gain:.2f}", f"{megabytes:.4g} MB"
        print(COLUMNS.format(*names, *shown, talk or "none"), flush=True)


def present() -> tuple[str, int]:
    """Return the kind of the default devices and their number, asked in a process of its own."""
    code = "import jax; d = jax.local_devices(); print(d[0].platform, len(d))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    platform, number = done.stdout.split()
    return platform, int(number)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", default="1,2,4,8", help="numbers of devices; the first is 1")
    parser.add_argument("--batch", type=int, default=16, help="samples; every count divides it")
    parser.add_argument("--rounds", type=int, default=7, help="pieces for each count")
    parser.add_argument("--piece", type=float, default=1.0, help="seconds of the slowest piece")
    parser.add_argument("--case", action="append", help="PROBLEM:RULE; again for more than one")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    counts = [int(count) for count in arguments.counts.split(",")]
    if arguments.serve:
        serve(arguments.serve, counts[0], arguments.batch)
        return
    if uneven := [count for count in counts if arguments.batch % count]:
        parser.error(f"a batch of {arguments.batch} has no equal parts for {uneven} devices")
    platform, number = present()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if platform == "cpu":
        print(
            f"{cores} cores. The devices are virtual and share them: no count is faster than one\n"
            f"device by more than {cores}. What is seen are the overhead, and the memory of each."
        )
    else:
        print(f"{number} {platform} devices, {cores} cores")
        left_out = [count for count in counts if count > number]
        counts = [count for count in counts if count <= number]
        print(*(f"{count} devices are not here" for count in left_out), sep="\n")
    head = "problem", "rule", "devices", "ms/update", "speed-up", "memory", "collectives"
    print(f"batch {arguments.batch}\n" + COLUMNS.format(*head))
    for case in arguments.case or CASES:
        measure(case, counts, arguments.batch, arguments.rounds, arguments.piece)


if __name__ == "__main__":
    main()
