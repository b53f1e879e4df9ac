"""Quasi-Newton rules with a dense inverse Hessian: self-scaled Broyden, self-scaled BFGS, BFGS."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from physopt.machine.devices import memory_limit
from physopt.numerics.fingerprint import depends, fingerprint
from physopt.numerics.inverse_hessian import Formula, updated
from physopt.numerics.linalg import HIGHEST
from physopt.objective import Objective
from physopt.options import PositiveInt
from physopt.problem import Batch
from physopt.rule import Info, Parameters, PlanError, State, UpdateRule, cost

DECREASE, CURVATURE = 1e-4, 0.9
"""c1 and c2 of the strong Wolfe conditions."""

RESTART = 1e-3
"""H after a failed line search, as a multiple of the identity."""

RESTARTS = 5
"""Restarts on one batch after which the next failure ends the run."""

COPIES = 4
"""Matrices [P, P] in memory during an update."""


class QuasiNewtonState(NamedTuple):
    """State between updates; loss and gradient belong to the parameters after the update."""

    inverse: jax.Array  # H [P, P]
    loss: jax.Array  # infinite before the first update
    decrease: jax.Array  # of the loss in the last update, 0 if it failed
    gradient: jax.Array  # [P]
    batch: jax.Array  # uint32, fingerprint of the last batch
    restarts: jax.Array  # int32, failed line searches on this batch


@dataclasses.dataclass(frozen=True)
class QuasiNewton(UpdateRule):
    """Self-scaled Broyden: s = -a H g, with a dense inverse Hessian H and a line search.

    a satisfies the strong Wolfe conditions with c1 = 1e-4 and c2 = 0.9, and `formula` updates H
    from s and the change y of the gradient, both on the batch of this update. H stays as it is if
    y.s <= 0. If the line search fails, so do the parameters, and H becomes 1e-3 I; the sixth
    failure on one batch ends the run as converged.

    An update costs about one gradient and P^2 operations for P parameters while the batch stays
    the same (train_size=batch_size): the line search ends with the gradient of the next update.
    With new batches it costs one more. float64 is required for small losses: a physics-informed
    network that reaches an error of 1e-9 stalls at 1e-5 in float32.

    The package ssbroyden-optimistix is an independent reference of the tests.
    Source: J. F. Urban, P. Stefanou, J. A. Pons, arXiv 2405.04230, equations 13 to 23.
    """

    formula: Formula = "ssbroyden"
    """Update of H. ssbroyden: scaled, with a free member of the Broyden family; ssbfgs: scaled
    BFGS; bfgs: the classical one."""

    line_search_steps: PositiveInt = 25
    """Largest number of trial steps per update."""

    one_batch: ClassVar = True
    tunable: ClassVar = {}

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return the size of H, and warn of float32.

        Raises PlanError if H does not fit into memory.
        """
        flat = ravel_pytree(params)[0]
        needed, limit = COPIES * flat.size**2 * flat.dtype.itemsize, memory_limit()
        if needed > limit:
            raise PlanError(
                f"the inverse Hessian of {flat.size} parameters needs {needed / 1e9:.3g} GB of "
                f"memory, more than {limit / 1e9:.3g}; use a smaller network or rule=lbfgs"
            )
        text = f"dense inverse Hessian [{flat.size}, {flat.size}]"
        if jnp.finfo(flat.dtype).bits < 64:
            text += f". Warning: it loses small eigenvalues in {flat.dtype}; dtype=float64 helps"
        return text

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return the identity as H, and no gradient."""
        flat = ravel_pytree(params)[0]
        unknown = jnp.asarray(jnp.inf, flat.dtype)
        return QuasiNewtonState(
            jnp.eye(flat.size, dtype=flat.dtype), unknown, jnp.zeros_like(unknown),
            jnp.zeros_like(flat), jnp.uint32(0), jnp.int32(0),
        )  # fmt: skip

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the step of the line search, or zero if it fails."""
        flat, unravel = ravel_pytree(params)

        def loss_of(flat: jax.Array) -> jax.Array:
            return objective.trial(unravel(flat), batch).astype(flat.dtype)

        mark = _mark(objective, params, batch)
        same = (mark == state.batch) & jnp.isfinite(state.loss)
        loss, gradient = jax.lax.cond(
            same,
            lambda: (state.loss, state.gradient),
            lambda: jax.value_and_grad(loss_of)(flat),
        )
        direction = -jnp.matmul(state.inverse, gradient, precision=HIGHEST)
        slope = direction @ gradient
        first = _first_length(state, direction, slope)
        length, end = self._search(loss_of, flat, direction, loss, gradient, first)
        step = length * direction
        lower = (length > 0) & (slope < 0) & (end.value <= loss + DECREASE * length * slope)
        pair = step, end.grad - gradient, -length * (step @ gradient)
        after = QuasiNewtonState(
            inverse=jnp.where(
                lower,
                updated(state.inverse, *pair, self.formula),
                RESTART * jnp.eye(flat.size, dtype=flat.dtype),
            ),
            loss=jnp.where(lower, end.value, loss),
            decrease=jnp.where(lower, loss - end.value, 0),
            gradient=jnp.where(lower, end.grad, gradient),
            batch=mark,
            restarts=jnp.where(same, state.restarts, 0) + (~lower).astype(jnp.int32),
        )
        trials = end.info.num_linesearch_steps
        samples = len(batch) * (trials + (~same).astype(jnp.int32))
        info = {
            "loss": loss,
            "grad_norm": jnp.linalg.norm(gradient),
            "step_size": jnp.where(lower, length, 0),
            "trials": trials.astype(flat.dtype),
            "accepted": lower.astype(flat.dtype),
            **cost(simulate=samples, vjp=samples),
        }
        return unravel(jnp.where(lower, step, 0)), after, info

    def _search(
        self,
        loss_of: Callable[[jax.Array], jax.Array],
        flat: jax.Array,
        direction: jax.Array,
        loss: jax.Array,
        gradient: jax.Array,
        first: jax.Array,
    ) -> tuple[jax.Array, Any]:
        """Return the length a of the step, and optax's state, with loss and gradient there."""
        search = optax.scale_by_zoom_linesearch(
            self.line_search_steps,
            slope_rtol=DECREASE,
            curv_rtol=CURVATURE,
            approx_dec_rtol=None,
            initial_guess_strategy="keep",
        )
        begin: Any = search.init(flat)
        begin = begin._replace(learning_rate=first)
        _, end = search.update(direction, begin, flat, value=loss, grad=gradient, value_fn=loss_of)
        length: Any = optax.tree.get(end, "learning_rate")
        return length, end

    def converged(self, state: State) -> jax.Array:
        """Return whether restarts no longer help."""
        return state.restarts > RESTARTS

    def remark(self, state: State, means: Mapping[str, float]) -> str | None:
        """Return how often H was reset."""
        count = int(state.restarts)
        return f"{count} line searches found no lower loss" if count else None


def _first_length(state: QuasiNewtonState, direction: jax.Array, slope: jax.Array) -> jax.Array:
    """Return the length that the line search tries first, at most 1.

    With it a quadratic loss falls as much as in the last update: J. Nocedal, S. Wright, Numerical
    Optimization (2006), equation 3.60. Most updates then need one trial; with 1, two. The step of
    H = I, which knows no scale, has a norm of at most 1.
    """
    expected = 2.02 * state.decrease / jnp.where(slope < 0, -slope, 1)
    after = jnp.where(expected > 0, jnp.minimum(1, expected), 1)
    unscaled = 1 / jnp.maximum(1, jnp.linalg.norm(direction))
    return jnp.where(jnp.isinf(state.loss), unscaled, after)


def _mark(objective: Objective, params: Parameters, batch: Batch) -> jax.Array:
    """Return the fingerprint of all that the loss of a batch depends on besides the parameters."""

    def loss(progress: Any) -> jax.Array:
        return objective.value(params, dataclasses.replace(batch, progress=progress))

    annealed = depends(loss, batch.progress)
    return fingerprint(batch if annealed else dataclasses.replace(batch, progress=()))
