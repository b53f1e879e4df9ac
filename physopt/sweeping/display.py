"""Sweep display: what a person sees of a sweep, while it goes on and when it has ended.

A live table on a terminal, one plain line for each ended run elsewhere.
"""

import dataclasses
import statistics
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from physopt.records.folder import RunFolder
from physopt.records.status import FINISHED, RESULTS
from physopt.records.units import seconds_text
from physopt.sweeping.plan import PlannedRun
from physopt.training.display import console

WAITING = "waiting"
_ROWS_SHOWN = 12


@dataclasses.dataclass
class Row:
    """What is known of a planned run."""

    run: PlannedRun
    label: str
    folder: Path
    kind: str | None = None
    """Kind of device, None where only the cluster knows."""
    expected: float | None = None
    """Wall-clock seconds that it should take."""
    status: str = WAITING
    reason: str = ""
    seconds: float = 0.0
    """Wall-clock seconds that this sweep spent on it."""
    attempts: int = 0
    earlier: bool = False
    """It was finished before this sweep began."""

    @property
    def ended(self) -> bool:
        """Say whether nothing is left to do in this sweep."""
        return self.status not in (WAITING, "locked")

    def end(self, status: str, reason: str) -> None:
        """Take the end of the run."""
        self.status, self.reason = status, reason


class Display(Protocol):
    """Who is told how a sweep goes on."""

    def note(self, text: str) -> None:
        """Take a remark."""
        ...

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Take the end of a run."""
        ...

    def show(self, rows: Sequence[Row], running: Mapping[str, float]) -> None:
        """Take the state of all runs, about twice a second.

        `running` is {run id: wall-clock seconds for which it has been going on}.
        """
        ...

    def close(self) -> None:
        """Stop showing."""
        ...


class Silent:
    """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Show nothing."""

    def show(self, rows: Sequence[Row], running: Mapping[str, float]) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class PlainLines(Silent):
    """One line for each run that ends."""

    def note(self, text: str) -> None:
        """Print the remark."""
        print(text, flush=True)

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Print how the run ended, and how many have."""
        done = sum(other.ended for other in rows)
        reason = f" ({row.reason})" if row.status not in RESULTS else ""
        spent = seconds_text(row.seconds)
        print(f"[{done}/{len(rows)}] {row.status}  {row.label}  {spent}{reason}", flush=True)


class LiveTable:
    """A table that is rewritten in place: counts, time left, the runs that are going on."""

    def __init__(self, console: Console) -> None:
        self._console, self._start = console, time.monotonic()
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.start()

    def note(self, text: str) -> None:
        """Print the remark above the table."""
        self._console.print(Text(text))

    def ended(self, row: Row, rows: Sequence[Row]) -> None:
        """Print above the table what did not come to a result."""
        if row.status not in FINISHED:
            self._console.print(Text(f"{row.status}  {row.label}  {row.reason}"))

    def show(self, rows: Sequence[Row], running: Mapping[str, float]) -> None:
        """Rewrite the table."""
        self._live.update(
            Group(
                Text(f"{counts_text(rows, len(running))}{self._left(rows, running)}"),
                _running_table([row for row in rows if row.folder.name in running]),
            ),
            refresh=True,
        )

    def close(self) -> None:
        """Clear the table."""
        self._live.stop()

    def _left(self, rows: Sequence[Row], running: Mapping[str, float]) -> str:
        seconds, unknown = seconds_left(rows, len(running), running)
        since = seconds_text(time.monotonic() - self._start)
        left = "time left unknown" if unknown else f"{seconds_text(seconds)} left"
        return f"   {since} gone, {left}"


def display_for_terminal() -> Display:
    """Return the display that suits standard output."""
    return LiveTable(Console()) if sys.stdout.isatty() else PlainLines()


def seconds_left(
    rows: Sequence[Row], workers: int, spent: Mapping[str, float]
) -> tuple[float, int]:
    """Return the seconds left with so many runs at once, and for how many runs nothing is known.

    A run is judged by those of its problem and rule that this sweep made, else by earlier ones,
    else by the mean of this sweep. What it has spent already, {run id: seconds}, is not left.
    """
    made = [row for row in rows if row.ended and not row.earlier and row.seconds]
    everything = statistics.fmean(row.seconds for row in made) if made else None
    by_pair: dict[tuple[str, ...], list[float]] = {}
    for row in made:
        by_pair.setdefault(row.run.words[:2], []).append(row.seconds)
    left, unknown = [0.0], 0
    for row in rows:
        if row.ended:
            continue
        alike = by_pair.get(row.run.words[:2])
        expected = statistics.fmean(alike) if alike else row.expected or everything
        left.append(max(0.0, (expected or 0.0) - spent.get(row.folder.name, 0.0)))
        unknown += expected is None
    return max(sum(left) / max(1, workers), max(left)), unknown


def counts_text(rows: Sequence[Row], running: int) -> str:
    """Say how many runs are done, going on and to come, and how they ended."""
    counts = Counter(row.status for row in rows if row.ended)
    done = sum(counts.values())
    ended = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    left = max(0, len(rows) - done - running)
    return (
        f"{done} of {len(rows)} done"
        + (f" ({ended})" if ended else "")
        + (f", {running} running, {left} to come" if done < len(rows) else "")
    )


def _running_table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in rows[:_ROWS_SHOWN]:
        status = RunFolder(row.folder).read("status.json")
        settings = row.run.config.settings
        of = f"/{settings.steps}" if settings.steps else ""
        step = f"step {status['step']}{of}" if "step" in status else "starting"
        table.add_row("running", escape(row.label), step)
    if len(rows) > _ROWS_SHOWN:
        table.add_row("", f"and {len(rows) - _ROWS_SHOWN} more", "")
    return table


def show_plan(rows: Sequence[Row], workers: int | None, remark: str = "") -> None:
    """Print a plan: its runs by problem and rule, what is done, and how long the rest takes."""
    out = console()
    table = Table(box=None, pad_edge=False)
    for name in ("problem", "rule", "runs", "done", "to do", "time for one"):
        table.add_column(name, justify="left" if name in ("problem", "rule") else "right")
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.run.words[:2], []).append(row)
    for (problem, rule), members in groups.items():
        known = [row.expected for row in members if row.expected is not None]
        done = sum(row.ended for row in members)
        table.add_row(
            *(escape(word.partition("=")[2].rpartition(":")[2]) for word in (problem, rule)),
            *(str(number) for number in (len(members), done, len(members) - done)),
            seconds_text(statistics.median(known)) if known else "unknown",
        )
    out.print(table)
    for row in rows if len(rows) <= 100 else ():
        if not row.ended:
            out.print(Text(f"python -m physopt run {' '.join(row.run.words)}"))
    out.print(_plan_text(rows, workers))
    if remark:
        out.print(Text(f"this machine cannot make these runs: {remark}"))


def _plan_text(rows: Sequence[Row], workers: int | None) -> str:
    done = sum(row.ended for row in rows)
    text = f"{len(rows)} runs: {done} done, {len(rows) - done} to do"
    if done == len(rows):
        return text
    left, unknown = seconds_left(rows, workers or 1, {})
    if unknown < len(rows) - done:
        at_once = "one after the other" if (workers or 1) == 1 else f"{workers} at once"
        text += f"; about {seconds_text(left)}, {at_once}"
    if unknown:
        text += f"; {unknown} without an earlier run of their problem and rule to judge by"
    return text


def show_sweep(rows: Sequence[Row], root: Path) -> int:
    """Print how a sweep ended; return the exit code."""
    out = console()
    failed = [row for row in rows if row.status not in (*FINISHED, "oom")]
    table = Table(box=None, pad_edge=False, show_header=False)
    for row in [*failed, *(row for row in rows if row.status in ("oom", "diverged"))][:50]:
        table.add_row(row.status, escape(row.label), Text(row.reason, overflow="ellipsis"))
    if table.row_count:
        out.print(table)
    earlier = sum(row.earlier for row in rows)
    out.print(counts_text(rows, 0) + (f"; {earlier} were done before" if earlier else ""))
    out.print(f"folder  {escape(str(root))}")
    again = "the same command tries again what has no result" if failed else ""
    out.print(f"next    {again or f'python -m physopt status {escape(str(root))}'}")
    if any(row.status == "interrupted" for row in failed):
        return 130
    return 1 if failed else 0
