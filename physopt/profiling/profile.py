"""Profile: the time of training by operation and source line.

Additional updates are traced on a copy of the carry, off the clock of training, so that profiling
does not change a run's numbers. Tracing slows down short operations; the table gives the time of an
update with and without it.

    profile/operations.csv   seconds, share and calls of every operation, the most expensive first
    profile/window.json      number of updates traced, and their seconds
    profile/trace.json.gz    the trace itself, for https://ui.perfetto.dev
"""

import csv
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax

from physopt.profiling.hlo import operations
from physopt.profiling.trace import Cost, ProfileError, costs, read_trace
from physopt.records import RunFolder

Updates = Callable[[int], None]

WINDOW_SECONDS = 0.25
LARGEST_UPDATES = 100
"""Untraced duration of a traced window, and bound on its updates: a program of short operations
produces a million events per second."""


class Profile(NamedTuple):
    """A traced window."""

    updates: int
    seconds: float
    seconds_untraced: float  # of the same number of updates
    costs: list[Cost]  # the most expensive first


def profile_run(
    updates: Updates, program_text: str, folder: RunFolder, note: Callable[[str], None]
) -> None:
    """Profile a run's program, write the table into its folder, and note the costliest rows."""
    try:
        profile = profiled(updates, program_text, folder.path / "profile")
    except (ProfileError, RuntimeError) as error:  # RuntimeError: JAX's, also if out of memory
        note(f"profile=true: no profile here, training goes on without ({error})")
        return
    with open(folder.path / "profile" / "operations.csv", "w", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(Cost._fields)
        table.writerows(profile.costs)
    window = {k: v for k, v in profile._asdict().items() if k != "costs"}
    folder.write("profile/window.json", window)
    note(_text(profile))


def profiled(updates: Updates, program_text: str, folder: Path) -> Profile:
    """Trace a window of updates into a folder, which is replaced.

    updates: makes the given number of updates and blocks until they are done. program_text: the
    compiled program as XLA prints it.

    Raises ProfileError if the backend's trace names no operation of the program.
    """
    updates(1)  # the first call of a program takes longer
    length = max(1, min(LARGEST_UPDATES, int(WINDOW_SECONDS / _seconds(updates, 1))))
    untraced = _seconds(updates, length)
    known = operations(program_text)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        with jax.profiler.trace(scratch, profiler_options=_options()):
            traced = _seconds(updates, length)
        lines = read_trace(Path(scratch), known)
        folder.mkdir(parents=True)
        # The other files contain the name of this machine.
        for path in Path(scratch).rglob("*.trace.json.gz"):
            shutil.move(path, folder / "trace.json.gz")
    return Profile(length, traced, untraced, costs(lines, known, traced))


def _seconds(updates: Updates, length: int) -> float:
    start = time.perf_counter()
    updates(length)
    return time.perf_counter() - start


def _options() -> jax.profiler.ProfileOptions:
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.raise_error_on_start_failure = True
    options.enable_hlo_proto = False  # it would contain local folders
    return options


def _text(profile: Profile) -> str:
    """Format the five most expensive operations as a table."""
    ms_per_update = 1e3 / profile.updates
    rows = [("share", "ms/update", "calls", "operation", "source")]
    for cost in profile.costs[:5]:
        what = cost.operation + ("" if cost.operation == cost.hlo else f" ({cost.hlo})")
        # Without Python's markers of nested functions.
        function = re.sub(r"\.<(locals|genexpr|listcomp|lambda)>", "", cost.function)
        where = " ".join(filter(None, (cost.source, function))) or "XLA's own"
        amounts = (
            f"{100 * cost.share:.1f} %",
            f"{ms_per_update * cost.seconds:.3g}",
            f"{cost.calls}",
        )
        rows.append((*amounts, what, where))
    aligned = []
    for number, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        aligned.append([text.rjust(width) if number < 3 else text.ljust(width) for text in column])
    lines = ["  ".join(row) for row in zip(*aligned, strict=True)]
    inside = sum(cost.seconds for cost in profile.costs) / profile.seconds
    head = (
        f"profile  {profile.updates} updates traced, {ms_per_update * profile.seconds:.3g} ms each "
        f"({ms_per_update * profile.seconds_untraced:.3g} ms untraced), {100 * inside:.0f} % of it "
        "within operations"
    )
    return "\n".join([head, *(f"  {line}".rstrip() for line in lines)])
