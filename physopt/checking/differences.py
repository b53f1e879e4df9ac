"""The derivative of a loss along a random direction, compared with finite differences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from physopt.objective import Objective
from physopt.problem import Batch

TOLERANCE = 1e-3
"""Largest relative error of a correct derivative. That of the best difference is below 1e-5, and a
mistake changes far more than a thousandth."""


class Comparison(NamedTuple):
    """Errors of a derivative, and whether the loss has a kink where it is taken."""

    errors: dict[float, float]  # of the central difference for each h, relative
    kinked: bool

    @property
    def agree(self) -> bool:
        """Whether the best difference agrees with the derivative."""
        return min(self.errors.values()) < TOLERANCE

    def __str__(self) -> str:
        listed = ", ".join(f"{error:.1e} at h={h:g}" for h, error in self.errors.items())
        return f"{listed} (relative)"


@jax.jit
def loss_and_gradient(objective: Objective, x: Any, batch: Batch) -> Any:
    """Return the mean loss and its gradient. Compiled once for all checks."""
    return jax.value_and_grad(objective.mean_loss)(x, batch)


def along_random_direction(objective: Objective, x: Any, batch: Batch) -> Comparison:
    """Compare dL/dx . d with central differences (L(x + h d) - L(x - h d)) / 2h.

    One-sided slopes differ by h L'' where L is smooth, and by the same for every h at a kink.
    """
    direction = optax.tree.random_like(jax.random.key(2), x)
    loss, gradient = loss_and_gradient(objective, x, batch)
    slope = float(jnp.asarray(optax.tree.vdot(gradient, direction)))
    # A central difference has errors of h^2 and of rounding / h: three h separate the two.
    errors, jumps = {}, []
    for h in (1e-3, 1e-4, 1e-5):
        shifted = (optax.tree.add_scale(x, shift, direction) for shift in (h, -h))
        ahead, behind = (float(loss_and_gradient(objective, x, batch)[0]) for x in shifted)
        difference = (ahead - behind) / (2 * h)
        scale = max(abs(slope), abs(difference), 1e-12)
        errors[h] = abs(slope - difference) / scale
        jumps.append(abs(ahead - 2 * float(loss) + behind) / h / scale)
    return Comparison(errors, kinked=jumps[-1] > max(TOLERANCE, jumps[-2] / 2))
