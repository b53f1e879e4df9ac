"""Memory: the host's state of a run, saved with every checkpoint."""

import dataclasses
import math
from typing import Any

from physopt.rule import COUNTS
from physopt.training.loop import Clock


@dataclasses.dataclass
class Memory:
    """Clock, cost and best evaluation of a run."""

    clock: Clock = dataclasses.field(default_factory=Clock)
    counts: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(COUNTS, 0))
    best_value: float = math.inf
    best_step: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; a best value that does not exist yet is null."""
        best = self.best_value if math.isfinite(self.best_value) else None
        return {**dataclasses.asdict(self), "best_value": best}

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Memory":
        """Return the inverse of `to_json`."""
        best = math.inf if content["best_value"] is None else content["best_value"]
        return Memory(Clock(**content["clock"]), content["counts"], best, content["best_step"])
