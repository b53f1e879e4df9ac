"""Neuroevolution by Metropolis steps: random changes of the parameters, accepted by their loss."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax

from physopt.numerics.keys import normal
from physopt.objective import Objective
from physopt.optimizers.schedules import Scheduled
from physopt.options import PositiveFloat
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, cost

FIRST_SIGMA = 1e-2
"""sigma unless given, before any adaptation."""

SUCCESS = 0.2
"""Share of successful proposals at which sigma stays as it is, Rechenberg's fifth."""

RATE = 0.1
"""Change of log sigma after a success, in units of 1 - SUCCESS."""


class MetropolisState(NamedTuple):
    """State of neuroevolution between updates."""

    accepted: jax.Array  # int32, number of accepted proposals
    plateau: Any  # of the schedule that follows the loss
    sigma: jax.Array  # without the factor of the schedule
    last: Parameters | tuple[()] = ()  # the last change, zero if rejected; () if sigma is fixed


@dataclasses.dataclass(frozen=True)
class Metropolis(Scheduled):
    """Neuroevolution: theta' = theta + eps, eps ~ N(0, sigma^2 I), is accepted with probability

    min(1, exp(-beta [L(theta') - L(theta)])), both losses on the same batch. The physics is not
    differentiated. For small sigma it is gradient descent in white noise: to first order in sigma
    the mean step is -sigma |grad L| / sqrt(2 pi) along the unit gradient where beta is none, and
    -(beta sigma^2 / 2) grad L where beta sigma |grad L| is small.

    sigma follows the rule of one fifth unless it is given: log sigma rises by 0.08 after a success
    and falls by 0.02 otherwise. A change that only fits its batch is no success: the next batch has
    to agree, for one more loss an update. With a beta sigma is fixed, as detailed balance demands.
    Source: S. Whitelam, V. Selin, S.-W. Park, I. Tamblyn, Nat. Commun. 12, 6317 (2021),
    doi 10.1038/s41467-021-26568-2; N. Metropolis et al., doi 10.1063/1.1699114; the rule of one
    fifth: H.-G. Beyer, H.-P. Schwefel, Natural Computing 1, 3 (2002), doi 10.1023/A:1015059928466.
    """

    sigma: PositiveFloat | None = None
    """Standard deviation of the change of each parameter. none: 0.01 with a beta; without one
    adapted from there, so that one change of five lowers the loss of its batch and of the next."""

    beta: PositiveFloat | None = None
    """Inverse temperature; none is infinite and never accepts a higher loss."""

    tunable: ClassVar = {"sigma": (1e-4, 1e-1)}

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return a count of zero, the first sigma, and no last change."""
        last = optax.tree.zeros_like(params) if self._adapts() else ()
        sigma = jnp.asarray(self.sigma or FIRST_SIGMA, _one(params).dtype)
        return MetropolisState(jnp.int32(0), self.plateau().init(_one(params)), sigma, last)

    def _adapts(self) -> bool:
        return self.sigma is None and self.beta is None

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the proposed change, or zero if it is rejected."""
        draw, decide = jax.random.split(key)
        before = objective.value(params, batch)
        factor = self.factor(batch.progress).astype(_one(params).dtype)
        factor, plateau = self.plateau().update(factor, state.plateau, value=before)
        # theta' = theta + eps, eps ~ N(0, sigma(t)^2 I)
        noise = optax.tree.random_like(draw, params, sampler=normal)
        sigma, spent = self._adapted(objective, params, state, batch, before)
        proposal = optax.tree.scale(sigma * factor, noise)
        after = objective.trial(optax.apply_updates(params, proposal), batch)
        accepted = self._accepts(after - before, decide)
        updates = jax.tree.map(lambda e: jnp.where(accepted, e, jnp.zeros_like(e)), proposal)
        info = {"loss": before, "accepted": accepted.astype(before.dtype)}
        last = updates if self._adapts() else ()
        state = MetropolisState(state.accepted + accepted, plateau, sigma, last)
        return updates, state, {**info, "sigma": sigma, **cost(simulate=spent + 2 * len(batch))}

    def _adapted(
        self, objective: Objective, params: Parameters, state: MetropolisState, batch: Batch,
        loss: jax.Array,
    ) -> tuple[jax.Array, int]:  # fmt: skip
        """Return sigma after the last change was judged by a batch, and the samples simulated."""
        if not self._adapts():
            return state.sigma, 0
        earlier = objective.trial(optax.tree.add_scale(params, -1.0, state.last), batch)
        moved = optax.tree.norm(state.last) > 0
        success = (moved & (loss < earlier)).astype(state.sigma.dtype)
        # Changes that rounding hides never succeed, and would shrink sigma without end.
        lowest = FIRST_SIGMA * jnp.finfo(state.sigma.dtype).eps
        sigma = state.sigma * jnp.exp(RATE * (success - SUCCESS))
        return jnp.maximum(sigma, lowest), len(batch)

    def _accepts(self, rise: jax.Array, key: jax.Array) -> jax.Array:
        """Draw whether a rise of the loss is accepted; an infinite one never is."""
        if self.beta is None:
            return rise <= 0
        # u < exp(-beta rise), u ~ U(0, 1]; the logarithm cannot overflow
        u = 1 - jax.random.uniform(key, dtype=rise.dtype)
        return jnp.log(u) <= -self.beta * rise


def _one(params: Parameters) -> jax.Array:
    return jnp.ones((), jnp.result_type(*jax.tree.leaves(params)))
