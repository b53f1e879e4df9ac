"""Record: what a run left, to be shown and compared, whatever state its files are in."""

import os
from functools import cached_property
from itertools import pairwise

from physopt.records.folder import RunFolder
from physopt.records.reading import Damage, Table, read_curve, shown
from physopt.records.status import FINISHED

DAMAGED = "damaged"
"""Not a way to end: the records of the run cannot be read, or contradict one another."""


class Record:
    """The valid entries of a run's files, with text that can be shown; nothing here raises.

    Each file is read once, when it is first needed. No code that the records name is imported.
    """

    def __init__(self, folder: RunFolder):
        self.folder = folder

    @property
    def config(self) -> Table:
        """The content of config.json."""
        return self._config[0]

    @property
    def environment(self) -> Table:
        """The content of env.json."""
        return self._environment[0]

    @property
    def progress(self) -> Table:
        """The content of status.json, with status interrupted if the run's process has ended."""
        return self._progress[0]

    @property
    def curve(self) -> list[Table]:
        """The rows of the curve, by their steps."""
        return self._curve[0]

    @cached_property
    def baselines(self) -> dict[str, dict[str, float]]:
        """The test errors of the baselines, {method: {metric: value}}."""
        return shown(self.folder.read("baselines.json"))

    @property
    def status(self) -> str:
        """The status of the run, DAMAGED if its records are."""
        return DAMAGED if self.damage else self.progress["status"]

    @property
    def reason(self) -> str:
        """The reason of the status."""
        return self.damage or self.progress.get("reason", "")

    @cached_property
    def damage(self) -> Damage:
        """What is wrong with the records, None if nothing is."""
        environment = self._environment[1] if self._has("env.json") else None
        return self._config[1] or self._progress[1] or environment or self._curve_damage()

    def name(self, kind: str) -> str:
        """Return the name of the problem or the rule; that of its folder if no record has it."""
        parent = self.folder.path.parent
        folder = parent.parent.name if kind == "problem" else parent.name
        recorded = self.config.get(kind, {}).get("name") or next(iter(self.curve), {}).get(kind)
        return recorded or shown(folder)

    @cached_property
    def _config(self) -> tuple[Table, Damage]:
        return self._shown("config.json")

    @cached_property
    def _environment(self) -> tuple[Table, Damage]:
        return self._shown("env.json")

    @cached_property
    def _progress(self) -> tuple[Table, Damage]:
        content, damage = self._shown("status.json")
        return self.folder.current(content), damage

    @cached_property
    def _curve(self) -> tuple[list[Table], Damage]:
        rows, damage = read_curve(self.folder.path / "curve.jsonl")
        return shown(rows), damage

    def _shown(self, name: str) -> tuple[Table, Damage]:
        content, damage = self.folder.checked(name)
        return shown(content), damage

    def _has(self, name: str) -> bool:
        return os.path.lexists(self.folder.path / name)

    def _curve_damage(self) -> Damage:
        status, step = self.progress["status"], self.progress.get("step")
        required = status in FINISHED and status != "skipped"
        if not required and not self._has("curve.jsonl"):
            return None  # it ended before its first evaluation
        rows, damage = self._curve
        if damage or not required:
            return damage
        if not rows:
            return "curve.jsonl has no rows"
        steps = [row["step"] for row in rows]
        interval = max((later - earlier for earlier, later in pairwise(steps)), default=1)
        if step is not None and step - steps[-1] >= interval:
            return f"curve.jsonl ends at step {steps[-1]}, the run at step {step}"
        return None
