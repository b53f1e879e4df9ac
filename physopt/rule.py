"""UpdateRule: the training scheme, which computes a change of the parameters from a batch.

A rule is a frozen dataclass whose fields are its options. It accesses physics and network only
through an Objective, and records the cost of an update in its `info`, so that rules can be compared
per physics call as well as per second.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from physopt.options import Options
from physopt.problem import Batch

if TYPE_CHECKING:
    from physopt.objective import Objective

Parameters = Any  # pytree of arrays
State = Any  # pytree of arrays
Info = dict[str, jax.Array]

COUNTS = ("n_simulate", "n_vjp", "n_invert", "n_factor")


def cost(*, simulate: Any = 0, vjp: Any = 0, invert: Any = 0, factor: Any = 0) -> Info:
    """Count the cost of an update: samples simulated, samples pulled back, inverse steps of samples
    and matrices factored.

    Evaluations of the network are not counted.
    """
    values = zip(COUNTS, (simulate, vjp, invert, factor), strict=True)
    return {name: jnp.asarray(value, jnp.int32) for name, value in values}


class PlanError(ValueError):
    """No method can compute an update within the limits that are set."""


class UpdateRule(Options, ABC):
    """The interface of a training scheme. A subclass is a frozen dataclass.

    `tunable` gives the range over which tuning searches an option, {name: (low, high)}. For an
    option with units, `tunable_per` names a column of the curve, {name: column}: the range is
    divided by its value at the first update, for each problem.
    """

    key_prefix: ClassVar[str] = "rule."
    tunable: ClassVar[Mapping[str, tuple[float, float]]] = {}
    tunable_per: ClassVar[Mapping[str, str]] = {}
    one_batch: ClassVar[bool] = False
    """Whether updates rely on a batch that stays the same; a run with others is warned."""

    def refuses(self, objective: "Objective") -> str | None:
        """Return the reason why this rule does not support an objective, None if it does.

        Called before anything is compiled.
        """
        return None

    def plan(self, objective: "Objective", params: Parameters, batch: Batch) -> str | None:
        """Return how an update will be computed if there is a choice, None otherwise.

        Called once with the shapes of a run, which displays and records the text. Raises PlanError
        if no method is within the limits.
        """
        return None

    @abstractmethod
    def init(self, objective: "Objective", params: Parameters, key: jax.Array) -> State:
        """Return the state of the rule before the first update."""

    @abstractmethod
    def update(
        self, objective: "Objective", params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return (updates, state, info); the new parameters are params + updates.

        info holds `loss`, the mean loss of the batch before the update, the counts of `cost`, and
        any other scalars for the curve (grad_norm, a retained rank).
        """

    def evaluated(self, params: Parameters, state: State) -> Parameters:
        """Return the parameters that are evaluated, kept as the best and reported.

        By default the parameters after the last update. A rule whose result are other parameters,
        such as an average of the iterates, returns those; training goes on from `params`.
        """
        return params

    def converged(self, state: State) -> jax.Array:
        """Return whether further updates would change nothing, [] bool; ends the run."""
        return jnp.asarray(False)

    def remark(self, state: State, means: Mapping[str, float]) -> str | None:
        """Return a remark on the end of a run, for its summary; None by default.

        state: after the last update. means: the entries of info, averaged since the last
        evaluation.
        """
        return None
