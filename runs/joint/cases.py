"""Cases of the comparison: a problem, and the budgets of all methods."""

from dataclasses import dataclass

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
    iterations: int = 50
    """Most updates of L-BFGS on a sample, from one start."""
    restarts: int = 5
    """Starts of the best of restarts."""


CASES = {
    "sin": Case(Sine(), updates=500),
    "wave_packet": Case(WavePacket(), updates=500),
    "billiards": Case(Billiards(), updates=1000),
    "ks_10": Case(KuramotoSivashinsky(horizon=10.0), samples=16, updates=300, iterations=30),
    "ks_40": Case(KuramotoSivashinsky(horizon=40.0), samples=16, updates=300, iterations=30),
}
"""The number of a Kuramoto-Sivashinsky case is its horizon."""
