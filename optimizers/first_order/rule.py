"""FirstOrder: what rules with an optax optimiser on the gradient through the physics share.

The update is theta <- theta - eta(t) direction(dL/dtheta). eta(t) = learning_rate times the factor
of `schedule`, where t is the fraction spent of the run's budget, in updates or in seconds.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from physopt.objective import Objective
from physopt.optimizers.schedules import Scheduled
from physopt.options import PositiveFloat
from physopt.problem import Batch, Tree
from physopt.rule import Info, Parameters, State, cost

Factor = jax.Array | float


class FirstOrderState(NamedTuple):
    """The states of the optimiser and of the plateau schedule."""

    optimizer: Any
    plateau: Any


@dataclasses.dataclass(frozen=True)
class FirstOrder(Scheduled):
    """A cotangent dL/dx, pulled back through the network, and an optax optimiser."""

    clip_norm: PositiveFloat | None = None
    """Largest norm of the gradient that the optimiser gets; none sets no bound."""

    tunable: ClassVar = {"learning_rate": (1e-5, 1e-1)}

    @abstractmethod
    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return the optax optimiser, with `factor` times its learning rate."""

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return the optimiser's state."""
        return FirstOrderState(self._chain(1.0).init(params), self.plateau().init(params))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the optimiser's step on dL/dtheta = (dx/dtheta)^T dL/dx."""
        x = objective.predict(params, batch.inputs)
        loss, cotangent, spent = self.cotangent(objective, x, batch, key)
        gradient = objective.pullback(params, batch, cotangent)
        updates, state = self.step(
            gradient, state, params, batch.progress, loss, lambda p: objective.trial(p, batch)
        )
        info = {"loss": loss, "grad_norm": optax.tree.norm(gradient)}
        return updates, state, {**info, **self._with_line_search(spent, state, len(batch))}

    def step(
        self,
        gradient: Parameters,
        state: FirstOrderState,
        params: Parameters,
        progress: jax.Array,
        value: jax.Array,
        value_fn: Callable[[Parameters], jax.Array],
    ) -> tuple[Parameters, FirstOrderState]:
        """Return the optimiser's updates and its next state.

        value, value_fn: the loss at the parameters, and at others that may be rejected.
        """
        factor = self.factor(progress).astype(value.dtype)
        factor, plateau = self.plateau().update(factor, state.plateau, value=value)

        def searched(params: Parameters, obj_fn: Any = None) -> jax.Array:
            return value_fn(params)  # a line search passes on every argument that it does not know

        updates, optimizer = self._chain(jnp.asarray(factor)).update(
            gradient, state.optimizer, params, value=value, grad=gradient,
            value_fn=searched, obj_fn=value_fn,
        )  # fmt: skip
        return updates, FirstOrderState(optimizer, plateau)

    def cotangent(
        self, objective: Objective, x: Tree, batch: Batch, key: jax.Array
    ) -> tuple[jax.Array, Tree, Info]:
        """Return L, dL/dx and their cost, by backpropagation through the physics."""
        loss, gradient = jax.value_and_grad(objective.mean_loss)(x, batch)
        return loss, gradient, cost(simulate=len(batch), vjp=len(batch))

    def _chain(self, factor: Factor) -> optax.GradientTransformationExtraArgs:
        optimizer = self.transformation(factor)
        if self.clip_norm is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(self.clip_norm), optimizer)
        return optax.with_extra_args_support(optimizer)

    @staticmethod
    def _with_line_search(spent: Info, state: Any, size: int) -> Info:
        """Add the evaluations of a line search, each a value and a gradient of the batch."""
        trials = optax.tree.get(state, "num_linesearch_steps")
        if trials is None:
            return spent
        extra = cost(simulate=trials * size, vjp=trials * size)
        return {name: spent[name] + extra[name] for name in spent}
