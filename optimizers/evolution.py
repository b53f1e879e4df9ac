"""Population methods: evolution strategies by evosax, an optional dependency.

A population of parameters is drawn around the mean theta, its losses on one batch are ranked, and
theta moves towards the better ones. The physics is evaluated, but not differentiated.
"""

import dataclasses
import importlib.util
import math
from abc import abstractmethod
from functools import partial
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from physopt.objective import Objective
from physopt.optimizers.schedules import Scheduled
from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, cost

LARGEST_COVARIANCE = 2000
"""Largest number of parameters whose covariance matrix is stored and decomposed."""


class EvolutionState(NamedTuple):
    """State of an evolution strategy between updates."""

    strategy: Any  # evosax's
    plateau: Any  # of the schedule that follows the loss


@dataclasses.dataclass(frozen=True)
class EvolutionStrategy(Scheduled):
    """An evosax strategy on the losses of a population; the parameters are its mean.

    A schedule multiplies the move of the mean.
    """

    @abstractmethod
    def strategy(self, params: Parameters) -> Any:
        """Return the evosax algorithm."""

    @abstractmethod
    def settings(self, strategy: Any) -> Any:
        """Return evosax's settings of the algorithm."""

    def refuses(self, objective: Objective) -> str | None:
        """Refuse if evosax is not installed."""
        if importlib.util.find_spec("evosax") is None:
            return "needs evosax, which is not installed: pip install physopt[evolution]"
        return None

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return evosax's state. Raises ValueError with the reason of a refusal."""
        if reason := self.refuses(objective):
            raise ValueError(reason)
        strategy = self.strategy(params)
        initial = _arrays(strategy.init(key, params, self.settings(strategy)))
        one = jnp.ones((), jnp.result_type(*jax.tree.leaves(params)))
        return EvolutionState(initial, self.plateau().init(one))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the move of the mean."""
        strategy = self.strategy(params)
        settings = self.settings(strategy)
        draw, move = jax.random.split(key)
        before, unravel = ravel_pytree(params)
        state, plateau = state
        shapes = jax.tree.map(jnp.result_type, state)
        # The training loop rounds the mean when it adds an update: continue from its value.
        population, state = strategy.ask(draw, state.replace(mean=before), settings)
        # A member whose physics fails ranks last: NaN would invalidate the whole ranking.
        losses = jax.vmap(partial(objective.trial, batch=batch))(population)
        state, _ = strategy.tell(move, population, losses, state, settings)
        loss = objective.value(params, batch)
        info = {"loss": loss, "best_loss": jnp.min(losses), "sigma": jnp.asarray(state.std)}
        factor = self.factor(batch.progress).astype(before.dtype)
        factor, plateau = self.plateau().update(factor, plateau, value=loss)
        updates = unravel(jnp.asarray(factor) * (state.mean.astype(before.dtype) - before))
        state = jax.tree.map(lambda leaf, dtype: jnp.asarray(leaf, dtype), state, shapes)
        members = jax.tree.leaves(population)[0].shape[0]
        spent = cost(simulate=(members + 1) * len(batch))
        return updates, EvolutionState(state, plateau), {**info, **spent}


@dataclasses.dataclass(frozen=True)
class OpenES(EvolutionStrategy):
    """OpenAI's evolution strategy: Adam on a gradient of the smoothed, ranked loss.

    theta_k = theta + sigma e_k with e_k ~ N(0, I) in opposite pairs, and
    gradient = 1 / (population sigma) sum_k rank_k e_k, with ranks from -1/2 to 1/2.
    Source: T. Salimans et al., arXiv 1703.03864; by evosax, R. T. Lange, arXiv 2212.04180.
    """

    learning_rate: PositiveFloat = 1e-2
    sigma: PositiveFloat = 2e-2
    """Standard deviation of the population, in each parameter."""

    population: Annotated[int, Bounds(2)] = 32
    """Number of members, made even; each evaluates the batch."""

    tunable: ClassVar = {"learning_rate": (1e-4, 1e-1), "sigma": (1e-3, 1e-1)}

    def strategy(self, params: Parameters) -> Any:
        """Return evosax's Open_ES with Adam."""
        from evosax.algorithms import Open_ES  # type: ignore[import-not-found]

        return Open_ES(
            self.population + self.population % 2,
            params,
            optimizer=optax.adam(self.learning_rate),
            std_schedule=optax.constant_schedule(self.sigma),
        )

    def settings(self, strategy: Any) -> Any:
        """Return evosax's defaults."""
        return strategy.default_params


@dataclasses.dataclass(frozen=True)
class CMAES(EvolutionStrategy):
    """Covariance matrix adaptation: a population whose covariance [P, P] adapts to the loss.

    theta_k ~ N(theta, sigma^2 C); theta moves to the weighted mean of the better half, C and sigma
    follow the path of theta. Decomposes C in every update: for small networks or network=none.
    Source: N. Hansen, arXiv 1604.00772; by evosax, R. T. Lange, arXiv 2212.04180.
    """

    sigma: PositiveFloat = 5e-2
    """Initial standard deviation."""

    population: PositiveInt | None = None
    """Number of members; none takes 4 + 3 ln P, as in the source."""

    tunable: ClassVar = {"sigma": (1e-3, 1e0)}

    def refuses(self, objective: Objective) -> str | None:
        """Refuse more than LARGEST_COVARIANCE parameters."""
        if reason := super().refuses(objective):
            return reason
        size = objective.parameter_count
        if size > LARGEST_COVARIANCE:
            return (
                f"a covariance of all {size} parameters is decomposed in every update; more than "
                f"{LARGEST_COVARIANCE} take too long, use open_es"
            )
        return None

    def strategy(self, params: Parameters) -> Any:
        """Return evosax's CMA_ES."""
        from evosax.algorithms import CMA_ES  # type: ignore[import-not-found]

        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        return CMA_ES(self.population or 4 + int(3 * math.log(size)), params)

    def settings(self, strategy: Any) -> Any:
        """Return evosax's defaults with this sigma."""
        settings = strategy.default_params
        return settings.replace(std_init=jnp.full_like(settings.std_init, self.sigma))


def _arrays(state: Any) -> Any:
    """Convert Python numbers, which would be constants of the program, to arrays."""
    return jax.tree.map(jnp.asarray, state)
