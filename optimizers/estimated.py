"""First-order rules with an estimate of dL/dx in place of backpropagation through the physics.

A problem offers an estimator as a method

    estimate_gradient_equilibrium(x, batch, key, nudge) -> dL/dx
    estimate_gradient_coupled(x, batch, key, nudge) -> a step in place of dL/dx
    estimate_gradient_subsampled(x, batch, key, fraction) -> dL/dx

or, if it has only one, as `estimate_gradient(x, batch, key)`, which either rule uses. All return
the gradient of the batch's mean loss, leaves like x; coupled learning returns a step that vanishes
with it.
"""

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp

from physopt.objective import Objective
from physopt.optimizers.first_order import AnyOptax
from physopt.options import Bounds, PositiveFloat, UnitFloat
from physopt.problem import Batch, EstimatesGradient, Problem, Tree
from physopt.rule import Info, cost


@dataclasses.dataclass(frozen=True)
class Estimated(AnyOptax):
    """A problem's estimate of dL/dx, pulled back through the network, and an optax optimiser."""

    optimizer: str = "adam"
    """Name of an optimiser of optax or optax.contrib; it decides which options there are."""

    estimator: ClassVar[str]
    """Name of the problem's estimator: this rule calls its method `estimate_gradient_NAME`."""

    def refuses(self, objective: Objective) -> str | None:
        """Refuse problems without an estimator."""
        if self._estimator(objective.problem) is None:
            name = type(objective.problem).__name__
            return f"{name} estimates no gradient (no estimate_gradient_{self.estimator})"
        return None

    def cotangent(
        self, objective: Objective, x: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Tree, Info]:
        """Return L, the estimate of dL/dx and their cost."""
        estimate = self._estimator(objective.problem)
        assert estimate is not None, "update called after a refusal"
        loss = objective.mean_loss(x, batch)
        # Makes the estimate wait for the loss: on a CPU with few cores, LAPACK calls of a program
        # that run at the same time can deadlock in XLA, which removes an optimization_barrier.
        x = jax.tree.map(lambda leaf: jnp.where(jnp.isnan(loss), jnp.nan, leaf), x)
        return loss, estimate(x, batch, key), self._spent(len(batch))

    def _estimator(self, problem: Problem) -> Callable[..., Tree] | None:
        own = getattr(problem, f"estimate_gradient_{self.estimator}", None)
        if own is not None:
            return lambda x, batch, key: own(x, batch, key, self._strength())
        return problem.estimate_gradient if isinstance(problem, EstimatesGradient) else None

    @abstractmethod
    def _strength(self) -> Any:
        """Return the option that is passed to the estimator."""

    @abstractmethod
    def _spent(self, size: int) -> Info:
        """Return the cost of loss and estimate for a batch of this size."""


@dataclasses.dataclass(frozen=True)
class EquilibriumPropagation(Estimated):
    """Equilibrium propagation: dL/dx from two relaxations of the physics, without backpropagation.

    The physics is a state s* of minimal energy E(s, x). With the energy nudged by b L,
    dL/dx = d/db [dE/dx (s*_b, x)] at b = 0, here by the symmetric difference between the states
    relaxed at b = +nudge and b = -nudge, whose error falls with nudge^2.
    Source: B. Scellier, Y. Bengio, Front. Comput. Neurosci. 11, 24 (2017),
    doi 10.3389/fncom.2017.00024; the symmetric difference: A. Laborieux et al., arXiv 2006.03824.
    """

    nudge: PositiveFloat = 1e-2
    """Weight b of the loss in the nudged energy."""

    estimator: ClassVar = "equilibrium"

    def _strength(self) -> float:
        return self.nudge

    def _spent(self, size: int) -> Info:
        return cost(simulate=4 * size)  # the loss; free, and nudged up and down


@dataclasses.dataclass(frozen=True)
class CoupledLearning(Estimated):
    """Coupled learning: a local step from the free state of a physics and one with held outputs.

    In the clamped state the outputs are held a fraction `nudge` of the way from their free values
    to the targets. The step is that of dE/dx (clamped) - dE/dx (free), divided by the nudge. It
    vanishes with the misfit, but is no gradient of the loss: at a small nudge it is dL/dx with the
    misfit multiplied by the stiffness that the physics opposes to its outputs.
    Source: M. Stern, D. Hexner, J. W. Rocks, A. J. Liu, Phys. Rev. X 11, 021045 (2021),
    doi 10.1103/PhysRevX.11.021045.
    """

    nudge: Annotated[float, Bounds(0, 1, above=True)] = 1e-2
    """Fraction of the misfit that the clamped state removes."""

    estimator: ClassVar = "coupled"

    def _strength(self) -> float:
        return self.nudge

    def _spent(self, size: int) -> Info:
        return cost(simulate=3 * size)  # the loss; free and clamped


@dataclasses.dataclass(frozen=True)
class Subsampled(Estimated):
    """Subsampled gradients: an unbiased dL/dx from random parts of the loss.

    L = sum_k l_k over parts k (the humidities of an isotherm); a part is drawn with probability p,
    and its gradient is divided by p. A smaller fraction is cheaper and has a larger variance.
    Source: the minibatch, applied to the outputs of the physics; H. Robbins, S. Monro, Ann. Math.
    Stat. 22, 400 (1951), doi 10.1214/aoms/1177729586.
    """

    fraction: UnitFloat = 0.25
    """Probability p that a part of the loss is drawn."""

    estimator: ClassVar = "subsampled"

    def _strength(self) -> float:
        return self.fraction

    def _spent(self, size: int) -> Info:
        part = math.ceil(self.fraction * size)
        return cost(simulate=size + part, vjp=part)
