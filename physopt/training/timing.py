"""Timing: the duration that a run will have, and the load of the machine while it is timed."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from physopt.machine import devices, threads
from physopt.records.folder import RunFolder
from physopt.records.timing import load_of_others, timing_remark
from physopt.records.units import seconds_text
from physopt.training.display import Display
from physopt.training.loop import PIECE_SECONDS, Budget, Clock, Piece

LONG_SECONDS = 120.0
"""Training that takes longer is announced at its start."""


def announcing_duration(
    pieces: Iterable[Piece], clock: Clock, budget: Budget, note: Callable[[str], None]
) -> Iterator[Piece]:
    """Yield pieces of training, and note the estimated duration of a long training.

    clock: that before the first piece. The first call of a program takes longer than others, so
    the estimate is based on the second piece, or on the first one if its single update is long.
    """
    announced = False
    for number, piece in enumerate(pieces):
        typical = number > 0 or piece.clock.t_train - clock.t_train > PIECE_SECONDS
        if typical and not announced:
            announced = True
            if text := duration_text(clock, piece.clock, budget):
                note(text)
        clock = piece.clock
        yield piece


def duration_text(before: Clock, after: Clock, budget: Budget) -> str | None:
    """Return an estimate of the training left, from the updates between two clocks.

    None if the budget has no number of steps, or if the training left is short.
    """
    made = after.step - before.step
    if budget.steps is None or not made:
        return None
    per_update = (after.t_train - before.t_train) / made
    left = budget.steps - after.step
    seconds = left * per_update
    if budget.seconds is not None:
        seconds = min(seconds, budget.seconds - after.t_train)
    if seconds < LONG_SECONDS:
        return None
    return (
        f"estimate  {seconds_text(seconds)} of training for {left} updates of "
        f"{seconds_text(per_update)}; evaluations take additional time"
    )


class MachineLoad:
    """The load at the start and at the end of a run, with a remark if timings are unreliable."""

    def __init__(self, folder: RunFolder, device: devices.Device, display: Display):
        self._folder, self._display = folder, display
        # The load counts the processes of all cores. On an accelerator it hardly matters.
        self._cores = os.cpu_count() if device.platform == "cpu" else None
        self.start = threads.load_average()
        if text := timing_remark((), self.start, self._cores):
            display.remark(f"Timings of this run will not be reliable: {text}")

    def at_end(self) -> dict[str, Any]:
        """Return the entries of status.json on timing; of a resumed run they cover all parts."""
        end = threads.load_average()
        others = load_of_others(self.start, end)
        before = self._folder.read("status.json").get("load_others")
        if others is not None and before is not None:
            others = max(others, before)
        text = timing_remark(self._folder.curve(), others, self._cores)
        if text:
            self._display.remark(f"The timings of this run are not reliable: {text}")
        return {"load_end": end, "load_others": others, "timing": text}
