"""AdaHessian: Adam with the Hessian's diagonal in place of the squared gradient."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from physopt.objective import Objective
from physopt.optimizers.first_order.rule import Factor, FirstOrder
from physopt.optimizers.second_derivatives import hessian_product
from physopt.options import Decay, PositiveFloat
from physopt.problem import Batch
from physopt.rule import Info, Parameters, PlanError, State, cost


class AdaHessianState(NamedTuple):
    """State between updates."""

    age: jax.Array  # int32, updates made
    mean: Parameters  # of the gradients
    square: Parameters  # mean square of the estimated diagonals
    probe: Any  # of the estimator


@dataclasses.dataclass(frozen=True)
class AdaHessian(FirstOrder):
    """AdaHessian: Adam whose mean square is that of an estimate of the Hessian's diagonal.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) (z * H z)^2 with random signs z, and
    theta <- theta - eta m^ / (sqrt(v^) + eps), with ^ for the correction of the zero start. The
    mean of z * H z over the signs is the diagonal of H. H z costs about two gradients and needs
    forward differentiation of the gradient. The average over blocks of a kernel, which the source
    makes for images, is left out.

    optax has the estimator, which is used here, but not the optimiser.
    Source: Z. Yao et al., arXiv 2006.00719.
    """

    learning_rate: PositiveFloat = 0.05
    b1: Decay = 0.9
    b2: Decay = 0.999
    eps: PositiveFloat = 1e-4
    """Least curvature; a smaller one makes steps longer than eta m / eps where H is flat."""

    tunable: ClassVar = {"learning_rate": (1e-3, 1.0)}

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return how products with the Hessian are computed.

        Raises PlanError if the physics has no second derivatives in forward mode.
        """
        _, way = hessian_product(objective, params, batch)
        if "forward" not in way:
            raise PlanError("the gradient of this physics has no forward differentiation; use nncg")
        return way

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return AdaHessian as an optax optimiser; its update needs obj_fn, the loss."""
        estimator: Any = optax.contrib.hutchinson_estimator_diag_hessian()
        rate = factor * self.learning_rate

        def init(params: Any) -> AdaHessianState:
            zeros = optax.tree.zeros_like(params)
            return AdaHessianState(jnp.int32(0), zeros, zeros, estimator.init(params))

        def update(
            updates: Any, state: Any, params: Any = None, **extra: Any
        ) -> tuple[Any, AdaHessianState]:
            diagonal, probe = estimator.update(updates, state.probe, params, **extra)
            age = state.age + 1
            mean = optax.tree.update_moment(updates, state.mean, self.b1, 1)
            square = optax.tree.update_moment(diagonal, state.square, self.b2, 2)
            steps = jax.tree.map(
                lambda m, v: -rate * m / (jnp.sqrt(v) + self.eps),
                optax.tree.bias_correction(mean, self.b1, age),
                optax.tree.bias_correction(square, self.b2, age),
            )
            return steps, AdaHessianState(age, mean, square, probe)

        return optax.GradientTransformationExtraArgs(init, update)

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the step, with the cost of the gradient and its derivative that H z takes."""
        updates, state, info = super().update(objective, params, state, batch, key)
        spent = cost(simulate=2 * len(batch), vjp=2 * len(batch))
        return updates, state, info | {name: info[name] + extra for name, extra in spent.items()}
