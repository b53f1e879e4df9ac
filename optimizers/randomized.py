"""Randomised automatic differentiation: backpropagation that keeps a part of the activations."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from physopt.objective import Objective
from physopt.optimizers.estimated import Subsampled
from physopt.options import UnitFloat
from physopt.problem import Batch, Problem, Tree
from physopt.rule import Info, cost


@dataclasses.dataclass(frozen=True)
class Randomized(Subsampled):
    """Randomised gradients: dL/dx by backpropagation with a random subset of the activations.

    A time step's local derivatives D are replaced by D' with E[D'] = D, of which only a fraction p
    is kept for the way back: the memory of the trajectory falls with p, and dL/dx stays unbiased if
    no derivative occurs twice on one path. Its variance grows with 1/p, and from step to step where
    D is not close to a constant. The loss is exact.

    A problem offers the physics with this derivative as

        simulate_randomized(x, batch, key, fraction) -> y

    Without it, a problem with a loss of several parts is trained as by rule=subsampled.
    Source: D. Oktay et al., Randomized automatic differentiation, arXiv 2007.10412 (ICLR 2021).
    """

    fraction: UnitFloat = 0.25
    """Fraction p of the activations that is kept."""

    def refuses(self, objective: Objective) -> str | None:
        """Refuse problems whose physics keeps no activations, or has no such derivative."""
        if _simulation(objective.problem) is None and super().refuses(objective):
            name = type(objective.problem).__name__
            return f"{name} has no randomised derivative (no simulate_randomized)"
        return None

    def cotangent(
        self, objective: Objective, x: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Tree, Info]:
        """Return L, the estimate of dL/dx and their cost."""
        simulate = _simulation(objective.problem)
        if simulate is None:
            return super().cotangent(objective, x, batch, key)

        def loss(x: Tree) -> jax.Array:
            y = simulate(x, batch, key, self.fraction)
            return jnp.mean(objective.problem.loss(y, batch))

        value, gradient = jax.value_and_grad(loss)(x)
        return value, gradient, cost(simulate=len(batch), vjp=len(batch))


def _simulation(problem: Problem) -> Callable[..., Any] | None:
    return getattr(problem, "simulate_randomized", None)
