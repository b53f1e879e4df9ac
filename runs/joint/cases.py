"""Cases of the comparison: a problem, and the budgets of all methods."""

from dataclasses import dataclass, field
from typing import Any

from physopt.problem import Problem
from physopt.problems.local_minima import Billiards, KuramotoSivashinsky, WavePacket
from physopt.problems.sine import Sine


@dataclass(frozen=True)
class Case:
    """A problem with the sizes of its runs."""

    problem: Problem
    samples: int = 64
    """Inverse problems that are solved."""
    updates: int = 1000
    """Updates of a network, each on all samples."""
    iterations: int = 60
    """Most updates of L-BFGS on a sample, from one start."""
    restarts: int = 10
    """Starts of the best of restarts."""
    adam: dict[str, Any] = field(default_factory=dict)
    """Options of Adam."""


CASES = {
    "sin": Case(Sine()),
    "wave_packet": Case(WavePacket(), updates=1000),
    "billiards": Case(Billiards()),
    "billiards, 2 balls": Case(Billiards(balls=2)),
    "KS, horizon 10": Case(KuramotoSivashinsky(horizon=10.0), samples=32, updates=600),
    "KS, horizon 40": Case(KuramotoSivashinsky(horizon=40.0), samples=32, updates=600),
}
