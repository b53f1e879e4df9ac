"""Schedules: the length of a rule's steps as a function of the budget spent."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from physopt.options import PositiveInt, UnitFloat
from physopt.rule import UpdateRule

Schedule = Literal["constant", "cosine", "warmup_cosine", "plateau"]


@dataclasses.dataclass(frozen=True)
class Scheduled(UpdateRule):
    """A rule whose steps are multiplied by a schedule."""

    schedule: Schedule = "constant"
    """Factor on the step: constant; cosine to 0 at the end of the budget; warmup_cosine, which
    rises linearly first; plateau, which shrinks when the loss stops falling."""

    warmup: UnitFloat = 0.05
    """Fraction of the budget over which warmup_cosine rises."""

    patience: PositiveInt = 100
    """Updates without a lower loss after which plateau multiplies the step by 0.1."""

    def factor(self, progress: jax.Array) -> jax.Array:
        """Return the factor at a progress [batch] in the budget; 1 for plateau, which has a state.

        It depends on the fraction of the budget, because the number of steps is unknown if the
        budget is in seconds.
        """
        t = progress[0]
        cosine = 0.5 * (1 + jnp.cos(jnp.pi * t))
        rise = max(self.warmup, 1e-6)
        decay = 0.5 * (1 + jnp.cos(jnp.pi * (t - rise) / max(1 - rise, 1e-6)))
        return {
            "constant": jnp.ones_like(t),
            "plateau": jnp.ones_like(t),
            "cosine": cosine,
            "warmup_cosine": jnp.where(t < rise, t / rise, decay),
        }[self.schedule]

    def plateau(self) -> optax.GradientTransformationExtraArgs:
        """Return the transformation that follows the loss; the identity in other schedules.

        Its update requires value=loss, and multiplies its argument: steps, or a factor on them.
        """
        if self.schedule == "plateau":
            return optax.contrib.reduce_on_plateau(factor=0.1, patience=self.patience, rtol=1e-4)
        return optax.with_extra_args_support(optax.identity())
