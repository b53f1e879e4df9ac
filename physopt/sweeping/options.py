"""Sweep options: how many runs at once, where, and for how long.

Nothing heavy is imported here, because the command line's help reads this file.
"""

import dataclasses
from pathlib import Path

from physopt.options import NonNegativeInt, Options, PositiveFloat, PositiveInt
from physopt.records.status import FINISHED


@dataclasses.dataclass(frozen=True)
class SweepOptions(Options):
    """How a sweep is carried out; nothing of it changes a run."""

    plan: bool = False
    """Print what would be run and how long it would take, and run nothing."""

    workers: PositiveInt | None = None
    """Runs at once on this machine; none: one per accelerator, or one per four cores."""

    threads: PositiveInt | None = None
    """CPU threads of each run; none shares the cores among the workers."""

    timeout: PositiveFloat | None = None
    """Wall-clock seconds after which a run is ended, start and compilation included."""

    retries: NonNegativeInt = 1
    """Times that a run is tried again which failed or was killed."""

    retry_oom: bool = False
    """Try again the runs that ran out of memory in an earlier sweep, a result otherwise."""

    executor: Path | None = None
    """Python file with Parsl's configuration, for a cluster; none runs on this machine."""

    def results(self) -> tuple[str, ...]:
        """Return the statuses that an earlier sweep's run is left alone with."""
        return FINISHED if self.retry_oom else (*FINISHED, "oom")


@dataclasses.dataclass(frozen=True)
class TuneOptions(SweepOptions):
    """How rules are tuned: as a sweep, and with so many trials."""

    trials: PositiveInt = 17
    """Trials for each problem and rule, the first with its options as they are; 1 more than a power
    of two covers the ranges most evenly."""

    tuned: Path | None = None
    """File to write the chosen options to; none: tuned.toml in the folder of the trials."""
