"""Sweep display: a live table on a terminal, elsewhere a line for each run that has ended."""

import shlex
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from physopt.records.folder import RunFolder
from physopt.records.status import FAILED, FINISHED, RESULTS, SETTLED
from physopt.records.units import seconds_text
from physopt.sweeping.estimate import Row, seconds_left
from physopt.training.display import Display, console, row_text
from physopt.training.phases import TRAINING

_ROWS_SHOWN = 12
_RUNS_LISTED = 100
_FAILURES_LISTED = 50


class SweepDisplay(Display):
    """Receives the progress of a sweep and shows nothing; subclasses override what they show."""

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Receive the end of a run."""

    def show(self, rows: Sequence[Row], running: Mapping[str, float]) -> None:
        """Receive the state of all runs, about twice a second.

        `running` is {run id: wall-clock seconds since its start}.
        """


class PlainLines(SweepDisplay):
    """One line for each run that ends."""

    def note(self, text: str) -> None:
        """Print the remark."""
        print(text, flush=True)

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Print how the run ended, and the number of runs that have."""
        done = sum(other.ended for other in rows)
        reason = f" ({row.reason})" if row.status not in RESULTS else ""
        spent = seconds_text(row.seconds)
        print(f"[{done}/{len(rows)}] {row.status}  {row.label}  {spent}{reason}", flush=True)


class LiveTable(SweepDisplay):
    """A table that is rewritten in place: counts, time left, active runs."""

    def __init__(self, console: Console) -> None:
        self._console, self._start = console, time.monotonic()
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.start()

    def note(self, text: str) -> None:
        """Print the remark above the table."""
        self._console.print(Text(text))

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Print runs that did not finish above the table."""
        if row.status not in FINISHED:
            self.note(f"{row.status}  {row.label}  {row.reason}")

    def show(self, rows: Sequence[Row], running: Mapping[str, float]) -> None:
        """Rewrite the table."""
        seconds, unknown = seconds_left(rows, len(running), running)
        left = "time left unknown" if unknown else f"{seconds_text(seconds)} left"
        elapsed = seconds_text(time.monotonic() - self._start)
        counts = f"{counts_text(rows, len(running))}   {elapsed} elapsed, {left}"
        active = [row for row in rows if row.folder.name in running]
        table = Table(box=None, pad_edge=False, show_header=False)
        for row in active[:_ROWS_SHOWN]:
            table.add_row("running", escape(row.label), _progress(row))
        if len(active) > _ROWS_SHOWN:
            table.add_row("", f"and {len(active) - _ROWS_SHOWN} more", "")
        self._live.update(Group(Text(counts), table), refresh=True)

    def close(self) -> None:
        """Clear the table."""
        self._live.stop()


def _progress(row: Row) -> str:
    """Return what a run is doing: its phase before and after training, else step and losses."""
    folder, steps = RunFolder(row.folder), row.config.settings.steps
    status, newest = folder.read("status.json"), folder.newest_row()
    if (phase := status.get("phase", TRAINING)) != TRAINING:
        return str(phase)
    step = max(status.get("step", -1), newest.get("step", -1))
    if step < 0:
        return "starting"
    return f"step {step}{f'/{steps}' if steps else ''}  {row_text(newest)}".rstrip()


def display_for_terminal() -> SweepDisplay:
    """Return the display for standard output."""
    return LiveTable(Console()) if sys.stdout.isatty() else PlainLines()


def counts_text(rows: Sequence[Row], running: int = 0) -> str:
    """Return how many runs are done, active and waiting, and how they ended."""
    counts = Counter(row.status for row in rows if row.ended)
    done = counts.total()
    text = f"{done} of {len(rows)} done"
    if done:
        ended = ", ".join(f"{number} {status}" for status, number in counts.most_common())
        text += f" ({ended})"
    if done < len(rows):
        text += f", {running} running, {max(0, len(rows) - done - running)} waiting"
    return text


def show_plan(rows: Sequence[Row], workers: int | None, remark: str = "") -> None:
    """Print a plan: its runs by problem and rule, what is done, and the estimated time."""
    screen = console()
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.names, []).append(row)
    table = Table(box=None, pad_edge=False)
    for name in ("problem", "rule", "runs", "done", "to do", "time for one"):
        table.add_column(name, justify="left" if name in ("problem", "rule") else "right")
    for names, members in groups.items():
        known = [row.expected for row in members if row.expected is not None]
        time_text = seconds_text(statistics.median(known)) if known else "unknown"
        done = sum(row.ended for row in members)
        counts = map(str, (len(members), done, len(members) - done))
        table.add_row(*map(escape, names), *counts, time_text)
    screen.print(table)
    to_do = [row for row in rows if not row.ended]
    for row in to_do if len(rows) <= _RUNS_LISTED else ():
        command = f"python -m physopt run {' '.join(row.config.words())}"
        screen.print(Text(command), soft_wrap=True)
    text = f"{len(rows)} runs: {len(rows) - len(to_do)} done, {len(to_do)} to do"
    left, unknown = seconds_left(rows, workers or 1, {})
    if unknown < len(to_do):
        at_once = f"{workers} at once" if workers and workers > 1 else "one after the other"
        text += f"; about {seconds_text(left)}, {at_once}"
    if unknown:
        text += f"; {unknown} without an earlier run of their problem and rule to estimate from"
    screen.print(text)
    if remark:
        screen.print(Text(f"this machine cannot make these runs: {remark}"))


def show_sweep(rows: Sequence[Row], root: Path) -> int:
    """Print how a sweep ended; return the exit code."""
    screen = console()
    unsettled = [row for row in rows if row.status not in SETTLED]
    failed = [row for row in rows if row.status in SETTLED and row.status in FAILED]
    if listed := [*unsettled, *failed][:_FAILURES_LISTED]:
        table = Table(box=None, pad_edge=False, show_header=False)
        for row in listed:
            table.add_row(row.status, escape(row.label), Text(row.reason, overflow="ellipsis"))
        screen.print(table)
    earlier = sum(row.earlier for row in rows)
    screen.print(counts_text(rows) + (f"; {earlier} were done before" if earlier else ""))
    screen.print(f"folder  {escape(str(root))}")
    if unsettled:
        screen.print("next    the same command retries the runs without a result")
        return 130 if any(row.status == "interrupted" for row in unsettled) else 1
    screen.print(f"next    python -m physopt status {escape(shlex.quote(str(root)))}")
    return 0
