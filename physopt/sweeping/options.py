"""Options of a sweep: concurrency, place and time limits.

The command line's help reads this file: it imports nothing heavy.
"""

import dataclasses
from pathlib import Path
from typing import Annotated

from physopt.options import Bounds, NonNegativeInt, Options, PositiveFloat, PositiveInt
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


@dataclasses.dataclass(frozen=True)
class RaceOptions(SweepOptions):
    """How rules are raced: as sweeps of growing training time over fewer and fewer rules."""

    workers: PositiveInt | None = None
    """Concurrent runs on this machine; none: one per accelerator or per core."""

    threads: PositiveInt | None = 1
    """CPU threads of each run; none divides the cores among the workers."""

    seconds: PositiveFloat = 120.0
    """Training seconds of each worker, all rounds together. Starts, compilation and evaluation are
    not counted."""

    seeds: Annotated[int, Bounds(2, 1000)] = 5
    """Seeds of each rule in the last round, from which the intervals are computed."""

    rates: PositiveInt = 3
    """Step sizes of each rule in the first round, by factors of 4 around its default."""

    reference: str = "adam"
    """Rule that stays in the race to its end, for comparison; none keeps the best rules alone."""
