"""Timing: the load of the machine while a run is timed."""

import os
from typing import Any

from physopt.machine import devices, threads
from physopt.records.folder import RunFolder
from physopt.records.timing import load_of_others, timing_remark
from physopt.training.display import Display


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
