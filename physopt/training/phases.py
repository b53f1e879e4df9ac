"""Phases: the wall-clock time of a run by what it was spent on."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from physopt.training.display import Display

START, TRAINING, OTHER = "start", "training", "records"


class Phases:
    """Assigns each second of a run to one phase, and shows the phase that begins.

    A phase inside another interrupts it: an evaluation during training is no training. Time outside
    all phases is spent on checkpoints and records.
    """

    def __init__(self, display: Display, record: Callable[[str], None]):
        self._display, self._record, self._since = display, record, time.monotonic()
        self._open = [OTHER]
        begun = self._since if display.begun is None else display.begun
        self._seconds = {START: self._since - begun}

    @contextmanager
    def phase(self, name: str, text: str = "") -> Iterator[None]:
        """Count the time inside as that of a phase; a text is shown and recorded when it begins."""
        self._credit()
        self._open.append(name)
        if text:
            self._display.phase(text)
            self._record(text)
        try:
            yield
        finally:
            self._credit()
            self._open.pop()

    def seconds(self) -> dict[str, float]:
        """Return {phase: seconds}, in the order in which they began."""
        self._credit()
        return {name: round(seconds, 3) for name, seconds in self._seconds.items()}

    def _credit(self) -> None:
        now = time.monotonic()
        name = self._open[-1]
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now
