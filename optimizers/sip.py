"""Scale-invariant physics training: the network is fitted to the steps of an inverse solver."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from physopt.machine.devices import current_platform
from physopt.objective import LENGTHS, Objective, flatten
from physopt.optimizers.first_order import AnyOptax
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch, Inverts, Linearizes, Tree
from physopt.rule import Info, Parameters, State, cost


@dataclasses.dataclass(frozen=True)
class SIP(AnyOptax):
    """Scale-invariant physics training (SIP).

    x0 = network(c; theta), x~ = P^-1(y* | x0) without a gradient, and the optimiser minimises the
    proxy loss 1/2 |x(theta) - x~|^2, as a mean over the batch: its cotangent in x is
    (x - x~) / batch. The step in x is the inverse solver's, so that badly scaled physics does not
    slow it down; the network gets the gradient of a plain regression. The solver is the problem's
    `invert`, or a damped Gauss-Newton step in x if it has none; `plan` returns which.

    The proxy's gradient is not the gradient of L: a step that is right for one sample moves the
    others through shared weights, and if their dy/dx differ, the effect on y is unbounded. The
    `damping` of the generic step limits it: the larger, the closer is x~ - x0 to -A^T dl/dy, with
    which the rule is gradient descent on L.

    info holds proxy_loss, and own_solver: 1 if the solver is the problem's.
    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048 (NeurIPS 2022).
    """

    optimizer: str = "adam"
    """Name of an optimiser of optax or optax.contrib; it decides which options there are."""

    inner: PositiveInt = 1
    """Iterations of the inverse solver per update."""

    repeat: PositiveInt = 1
    """Steps of the network towards x~ per update; theorem 3 of the source assumes many."""

    damping: PositiveFloat | None = None
    """Damping of the generic inverse step, in units of the mean eigenvalue of A A^T; a problem's
    own solver ignores it. none: the least of 0.01, 0.1, 1, 10 at which the steps of single samples
    change other samples no more than their own, or hardly more than with any damping."""

    def refuses(self, objective: Objective) -> str | None:
        """Refuse an inverse solver in float64 on a TPU."""
        if current_platform() == "tpu" and objective.problem.float64_inverse:
            name = type(objective.problem).__name__
            return f"the inverse solver of {name} calculates in float64, which a TPU lacks"
        return super().refuses(objective)

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return which inverse solver is used."""
        if isinstance(objective.problem, Inverts):
            return f"inverse solver: {type(objective.problem).__name__}'s own"
        x = jax.eval_shape(objective.predict, params, batch.inputs)
        jax.eval_shape(flatten, objective.output_shapes(x, batch))  # refuses a complex y
        return (
            "inverse solver: the generic damped Gauss-Newton step in x, since the problem has none"
        )

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return `repeat` steps of the optimiser on the proxy loss."""
        x0 = objective.predict(params, batch.inputs)
        loss, goal, spent = self._solve(objective, x0, batch)

        def proxy(params: Parameters) -> jax.Array:
            return _distance(objective.predict(params, batch.inputs), goal)

        def step(updates: Parameters, state: State) -> tuple[Parameters, State, jax.Array]:
            theta = optax.apply_updates(params, updates)
            distance, gradient = jax.value_and_grad(proxy)(theta)
            change, state = self.step(gradient, state, theta, batch.progress, distance, proxy)
            # Summed separately from the parameters, to which small changes would be rounded.
            return optax.tree.add(updates, change), state, optax.tree.norm(gradient)

        updates, state, norm = step(optax.tree.zeros_like(params), state)
        if self.repeat > 1:  # a loop without iterations would be compiled, too
            updates, state = jax.lax.fori_loop(
                1, self.repeat, lambda _, carry: step(*carry)[:2], (updates, state)
            )
        own = jnp.asarray(isinstance(objective.problem, Inverts), loss.dtype)
        info = {"loss": loss, "grad_norm": norm, "proxy_loss": _distance(x0, goal)}
        return updates, state, {**info, "own_solver": own, **spent}

    def _solve(self, objective: Objective, x: Tree, batch: Batch) -> tuple[jax.Array, Tree, Info]:
        """Return L(x), x~ and their cost."""

        def solve(_: Any, x: Tree) -> Tree:
            return objective.invert(x, batch, self.damping)

        goal = jax.lax.fori_loop(0, self.inner, solve, x)
        # x is kept where the solver fails (a physics that does not respond).
        goal = jax.tree.map(lambda a, b: jnp.where(jnp.isfinite(a), a, b), goal, x)
        loss, size = objective.mean_loss(x, batch), len(batch)
        spent = cost(simulate=size, invert=self.inner * size)
        if not isinstance(objective.problem, Inverts):  # every step linearises the physics
            y = jax.eval_shape(flatten, objective.output_shapes(x, batch))
            pulled = 1 if isinstance(objective.problem, Linearizes) else y.shape[1]
            trials = 1 + len(LENGTHS)
            spent = cost(
                simulate=(1 + self.inner * trials) * size, vjp=self.inner * size * pulled,
                invert=self.inner * size, factor=self.inner * size,
            )  # fmt: skip
        return loss, jax.lax.stop_gradient(goal), spent


def _distance(x: Tree, goal: Tree) -> jax.Array:
    """Return 1/2 |x - x~|^2, as a mean over the batch."""
    difference = flatten(x) - flatten(goal)
    return 0.5 * jnp.mean(jnp.sum(difference**2, axis=1))
