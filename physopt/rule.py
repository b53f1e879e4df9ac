"""UpdateRule: the training scheme. What change of the parameters a batch asks for.

A rule is a frozen dataclass whose fields are its options. It sees physics and network only through
an Objective, and says what an update cost in its `info`, so that rules can be compared against
physics calls as well as against seconds.
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
State = Any  # pytree of arrays, a NamedTuple where it is ours
Info = dict[str, jax.Array]

COUNTS = ("n_simulate", "n_vjp", "n_invert", "n_factor")


def cost(*, simulate: Any = 0, vjp: Any = 0, invert: Any = 0, factor: Any = 0) -> Info:
    """Count what an update cost: samples simulated, samples pulled back, inverse steps on samples,
    and matrices factored.

    Forward sweeps of a network are not physics and are not counted.
    """
    values = zip(COUNTS, (simulate, vjp, invert, factor), strict=True)
    return {name: jnp.asarray(value, jnp.int32) for name, value in values}


class PlanError(ValueError):
    """There is no way to an update within the limits that are set."""


class UpdateRule(Options, ABC):
    """The interface of a training scheme. A subclass is a frozen dataclass.

    `tunable` gives the range over which tuning searches an option, {name: (low, high)}. Where an
    option has units, `tunable_per` names the column of the curve whose value at the first update
    they come from, {name: column}: the range is then divided by it, problem by problem.
    """

    key_prefix: ClassVar[str] = "rule."
    tunable: ClassVar[Mapping[str, tuple[float, float]]] = {}
    tunable_per: ClassVar[Mapping[str, str]] = {}

    def refuses(self, objective: "Objective") -> str | None:
        """Return the reason why this rule cannot serve an objective, before anything is compiled.

        None where it can.
        """
        return None

    def plan(self, objective: "Objective", params: Parameters, batch: Batch) -> str | None:
        """Say how an update will be computed, where there is a choice; None where there is none.

        Called once with the shapes of a run, which shows and records the answer. Raises PlanError
        where no way is within the limits.
        """
        return None

    @abstractmethod
    def init(self, objective: "Objective", params: Parameters, key: jax.Array) -> State:
        """Return the state of the rule before the first update."""

    @abstractmethod
    def update(
        self,
        objective: "Objective",
        params: Parameters,
        state: State,
        batch: Batch,
        key: jax.Array,
    ) -> tuple[Parameters, State, Info]:
        """Return (updates, state, info); the new parameters are params + updates.

        info holds `loss`, the mean loss of the batch before the update, the counts of `cost`, and
        any other scalars worth a curve (grad_norm, a retained rank).
        """
