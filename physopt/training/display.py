"""Display of a run's progress: a live line on a terminal, plain lines in a log file or batch job.

`Display` itself shows nothing, which is the default in Python.
"""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from physopt.records.units import seconds_text

if TYPE_CHECKING:  # a command shows something before JAX is imported
    from physopt.training.loop import Budget, Clock

PLAIN_SECONDS = 5.0
_IMPORTING = "importing JAX, the problem and the rule"


class Display:
    """Receives the progress of a run and shows nothing; subclasses override what they show."""

    begun: float | None = None  # time.monotonic(), of a display that is made before the run

    def phase(self, text: str) -> None:
        """Receive what is done before and after training, when it begins."""

    def note(self, text: str) -> None:
        """Receive a remark on the current activity."""

    def remark(self, text: str) -> None:
        """Receive a remark on what is not computed, or not as before; a note by default."""
        self.note(text)

    def piece(self, clock: "Clock", budget: "Budget") -> None:
        """Receive the state of the clock, about twice a second."""

    def evaluated(self, row: Mapping[str, Any], clock: "Clock", budget: "Budget") -> None:
        """Receive a new row of the curve."""

    def close(self) -> None:
        """Stop showing."""


class Quiet(Display):
    """The display of runs from Python: Python's log receives what must not pass unnoticed."""

    def remark(self, text: str) -> None:
        """Log the remark as a warning."""
        logging.getLogger("physopt").warning(text)


class PlainLines(Display):
    """One line per evaluation, at most every few seconds."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._last = -PLAIN_SECONDS

    def phase(self, text: str) -> None:
        """Print what begins."""
        print(text, flush=True)

    def note(self, text: str) -> None:
        """Print the remark."""
        print(text, flush=True)

    def evaluated(self, row: Mapping[str, Any], clock: "Clock", budget: "Budget") -> None:
        """Print the row, unless another one was printed within PLAIN_SECONDS."""
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS or budget.spent(clock):
            self._last = now
            print(f"{pace_text(clock, budget)}  {row_text(row)}", flush=True)


class LiveLine(Display):
    """One line that is rewritten in place."""

    def __init__(self, console: Console) -> None:
        self.begun = time.monotonic()
        self._row: Mapping[str, Any] = {}
        self._console = console
        self._phase, self._pace, self._since = _IMPORTING, "", self.begun
        self._live = Live(
            console=console, transient=True, refresh_per_second=2, get_renderable=self._line
        )
        self._live.start()

    def phase(self, text: str) -> None:
        """Show what is done, and for how long, until an update has been made."""
        self._phase, self._since = text, time.monotonic()
        self._live.refresh()

    def _line(self) -> Text:
        elapsed = int(time.monotonic() - self._since)
        since = f"  {seconds_text(elapsed)}" if elapsed else ""
        return _one_line(f"{self._phase}{since}" if self._phase else self._pace)

    def note(self, text: str) -> None:
        """Print the remark above the line."""
        self._console.print(text, highlight=False, markup=False)

    def piece(self, clock: "Clock", budget: "Budget") -> None:
        """Rewrite the line."""
        self._phase, self._pace = "", f"{pace_text(clock, budget)}  {row_text(self._row)}"
        self._live.refresh()

    def evaluated(self, row: Mapping[str, Any], clock: "Clock", budget: "Budget") -> None:
        """Rewrite the line with the new losses."""
        self._row = row
        self.piece(clock, budget)

    def close(self) -> None:
        """Clear the line."""
        self._live.stop()


def _one_line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def console() -> Console:
    """Return a console on standard output, 160 columns wide if that is not a terminal.

    The 80 columns that rich assumes for a pipe or a file would break paths.
    """
    terminal = Console(highlight=False)
    return terminal if terminal.is_terminal else Console(highlight=False, width=160)


def display_for_terminal() -> Display:
    """Return the display for standard output."""
    return LiveLine(Console()) if sys.stdout.isatty() else PlainLines()


def activity() -> closing[Display]:
    """Return the context of the display for standard output, which is closed at the end.

    For the work of a command before its results; on a terminal it begins with the import of JAX.
    """
    return closing(display_for_terminal())


def pace_text(clock: "Clock", budget: "Budget") -> str:
    """Format step, seconds per update and training time left."""
    of = f"/{budget.steps}" if budget.steps else ""
    text = f"step {clock.step}{of}"
    if not clock.step:
        return text
    per_update = clock.t_train / clock.step
    left = []
    if budget.steps:
        left.append((budget.steps - clock.step) * per_update)
    if budget.seconds:
        left.append(budget.seconds - clock.t_train)
    text = f"{text}  {seconds_text(per_update)}/update"
    return f"{text}  {seconds_text(min(left))} left" if min(left) > 0 else text


def row_text(row: Mapping[str, Any]) -> str:
    """Format the losses of an evaluation."""
    names = {"train_loss": "train", "validation_loss": "validation", "test_loss": "test"}
    parts = [
        f"{label} {row[name]:.4g}" for name, label in names.items() if row.get(name) is not None
    ]
    return "  ".join(parts)
