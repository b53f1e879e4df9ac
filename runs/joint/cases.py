"""Cases of the comparison: a problem, the number of samples, and the budgets of all methods."""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from physopt.options import PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.burgers.control import Burgers
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.local_minima import Billiards, KuramotoSivashinsky, WavePacket
from physopt.problems.quantum import QuantumDipole
from physopt.problems.sine import Sine


@dataclass(frozen=True)
class Repeated(Problem):
    """A problem whose held-out sets contain every sample `repeats` times, one after the other.

    With random initial unknowns all restarts of a sample are then solved in one run.
    """

    repeats: PositiveInt = 1

    def held_out(self, keys: jax.Array) -> Batch:
        """Return the validation and the test samples, repeated."""
        size = len(keys) // 2
        first = np.repeat(np.arange(size // self.repeats), self.repeats)
        samples = super().held_out(keys)
        return jax.tree.map(lambda a: jnp.concatenate([a[first], a[size + first]]), samples)


@dataclass(frozen=True)
class RepeatedWavePacket(Repeated, WavePacket):
    """`wave_packet` with repeated samples; source as there."""


@dataclass(frozen=True)
class RepeatedBilliards(Repeated, Billiards):
    """`billiards` with repeated samples; source as there."""


@dataclass(frozen=True)
class RepeatedKuramotoSivashinsky(Repeated, KuramotoSivashinsky):
    """`kuramoto_sivashinsky` with repeated samples; source as there."""


@dataclass(frozen=True)
class Case:
    """A problem with the sizes of its runs."""

    problem: Problem
    samples: int = 64
    """Inverse problems that are solved."""
    updates: int = 500
    """Updates of a network, each on all samples."""
    iterations: int = 50
    """Most updates of L-BFGS on a sample, from one start."""

    def repeated(self, repeats: int) -> Problem | None:
        """Return the problem with several random starts per sample; None if it has one start."""
        if not isinstance(self.problem, Repeated):
            return None
        return dataclasses.replace(self.problem, repeats=repeats)


SIZES = (16, 64)

CASES = {
    "sin": Case(Sine()),
    **{f"wave_packet_{n}": Case(RepeatedWavePacket(), samples=n) for n in SIZES},
    "billiards_16": Case(RepeatedBilliards(), samples=16, updates=300),
    "billiards_64": Case(RepeatedBilliards(), samples=64, updates=1000),
    **{
        f"ks{horizon}_{n}": Case(
            RepeatedKuramotoSivashinsky(horizon=horizon), samples=n, updates=300, iterations=30
        )
        for horizon in (10, 40)
        for n in (8, 16)
    },
    "burgers": Case(Burgers(closed=True), samples=16, updates=300),
    "quantum": Case(QuantumDipole(), samples=8, updates=200),
    "ldft2d": Case(LDFT2D(size=8), samples=8, updates=200, iterations=30),
}
"""PROBLEM_SAMPLES; the number after `ks` is the horizon of Kuramoto-Sivashinsky."""
