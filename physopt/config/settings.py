"""Settings of a run that do not depend on its problem and rule: seed, budget, precision, device.

Imports nothing heavy, because the command line's help reads this file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from physopt.options import Bounds, NonNegativeInt, Options, PositiveFloat, PositiveInt

Seed = Annotated[int, Bounds(0, 2**32 - 1)]
"""A key holds 32 bits of its seed: 2^32 would give the stream of 0."""


@dataclass(frozen=True)
class Settings(Options):
    """Settings of a run. Omitted settings take the problem's defaults."""

    seed: Seed = 0
    """Seed of the initial parameters and of the training batches. Runs of different rules with one
    seed start from the same parameters and see the same batches."""

    batch_size: PositiveInt = 32
    """Samples per update. With network=none: samples solved from each held-out set."""

    train_size: PositiveInt | None = None
    """Samples in a fixed training set, visited in order; none draws new samples in every update."""

    redraw: PositiveInt | None = None
    """Updates after which the training set is drawn anew; none keeps it. Some problems then place
    its samples where the loss is large."""

    train_on: Literal["training", "test"] = "training"
    """Samples that a network trains on. test: those of the test set, to solve them jointly. Their
    errors say nothing about other samples, and tables of scores refuse such runs."""

    heldout_size: PositiveInt = 128
    """Samples in the validation set and in the test set; both are the same for every seed."""

    steps: PositiveInt | None = None
    """Updates to make. Without steps and seconds the problem's default applies."""

    seconds: PositiveFloat | None = None
    """Training seconds to spend; compilation, evaluation and writing are not counted."""

    log_every: PositiveInt | None = 20
    """Updates between two evaluations; none makes about 25 evaluations, evenly over the budget."""

    stop_at_target: bool = False
    """End the run when the validation set reaches the problem's target."""

    network: str = "default"
    """The problem's network: default, another one it names, or none to optimise x itself."""

    start: Path | None = None
    """Folder of a run whose best parameters are the initial ones; none draws them by the seed. With
    network=none its network's prediction is the initial x."""

    trust: bool = False
    """Import the problem that the records of `start` name, even if it is not part of physopt and
    you do not name it yourself."""

    tolerance: PositiveFloat | None = None
    """With network=none: a sample is solved when its gradient has fallen to this fraction of the
    first one, or when a step is shorter than this fraction of x. Solved samples are left alone, and
    the run ends when all are; none spends the whole budget on each."""

    dtype: Literal["float32", "float64"] = "float32"
    """Precision of network and physics."""

    device: Literal["cpu", "gpu", "tpu"] | None = None
    """Platform to compute on; none takes the accelerator if there is one."""

    devices: PositiveInt = 1
    """Devices of this machine over which each batch is spread in equal parts."""

    threads: PositiveInt | None = None
    """CPU threads of BLAS and LAPACK, and from the command line of XLA. none: one for BLAS and
    LAPACK, whose spinning threads make small matrices a hundred times slower on a busy machine, and
    XLA's own choice, one per core or the environment's NPROC."""

    out: Path = Path("runs/results")
    """Folder in which the run's folder is made."""

    force: bool = False
    """Repeat a finished run of the same settings, replacing its records."""

    figures: bool = True
    """Draw training.png and, where the problem can, figure.png at the end of the run."""

    profile: bool = False
    """Trace a few additional updates, outside training, and list the most expensive operations."""

    tuning_trials: NonNegativeInt | None = None
    """Trials that chose the rule's options, which `tune` writes; scores refuse unequal ones."""

    debug: bool = False
    """Show the traceback of an error."""


UNRECORDED = (
    "threads", "out", "force", "figures", "profile", "tuning_trials", "debug", "trust",
)  # fmt: skip
"""Settings that do not change a run's numbers.

Threads change the order of sums, thus last digits, as another number of cores does; env.json
records both.
"""
