"""Options of a sweep: concurrency, place and time limits.

The command line's help reads this file: it imports nothing heavy.
"""

import dataclasses
from pathlib import Path

from physopt.options import NonNegativeInt, Options, PositiveFloat, PositiveInt
from physopt.records.status import FINISHED, SETTLED


@dataclasses.dataclass(frozen=True)
class SweepOptions(Options):
    """How a sweep is made; none of these options changes a run."""

    plan: bool = False
    """Print the runs and the estimated time, and run nothing."""

    workers: PositiveInt | None = None
    """Concurrent runs on this machine; none: one per accelerator, or one per four cores."""

    threads: PositiveInt | None = None
    """CPU threads of each run; none divides the cores among the workers, with one thread of BLAS
    and LAPACK for each."""

    timeout: PositiveFloat | None = None
    """Limit in wall-clock seconds for each run, start and compilation included."""

    retries: NonNegativeInt = 1
    """Retries of a run that failed or was killed."""

    retry_oom: bool = False
    """Repeat the runs that ran out of memory in an earlier sweep, which otherwise count as done."""

    executor: Path | None = None
    """Python file with Parsl's configuration, for a cluster; none runs on this machine."""

    def results(self) -> tuple[str, ...]:
        """Return the statuses with which a recorded run is left alone."""
        return FINISHED if self.retry_oom else SETTLED


@dataclasses.dataclass(frozen=True)
class TuneOptions(SweepOptions):
    """How rules are tuned: as a sweep of trials."""

    trials: PositiveInt = 17
    """Trials for each problem and rule, the first with the rule's own options; a power of two plus
    one covers the ranges most evenly."""

    tuned: Path | None = None
    """File for the selected options; none: tuned.toml in the folder of the trials."""
