"""Convection over many periods, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.options import PositiveFloat, PositiveInt
from physopt.problems.pinn.evolution import EvolutionPINN


@dataclasses.dataclass(frozen=True)
class ConvectionPINN(EvolutionPINN):
    """u_t + speed u_x = 0 on t in [0, 1], x in [0, 2 pi] periodic; u(0, x) = sin x.

    The solution is sin(x - speed t). The larger the speed, the worse the loss is conditioned.

    Source: P. Rathore et al., arXiv 2402.01868: speed 40, four layers of 50 to 400, the soft form.
    """

    speed: PositiveFloat = 40.0
    """Distance that the wave travels until t = 1; its period is 2 pi."""

    hidden: tuple[PositiveInt, ...] = (30, 30, 30)
    """Widths of the network's hidden layers, with tanh."""

    is_periodic: ClassVar = True
    entries: ClassVar = ("u", "u_t", "u_x")
    domain: ClassVar = ((0.0, 1.0), (0.0, 2 * np.pi))
    target: ClassVar = ("relative_l2", 1e-3)
    tiny: ClassVar = {"hidden": (4,), "points": "random", "speed": 2.0}
    defaults: ClassVar = {
        "batch_size": 2048, "train_size": 2048, "heldout_size": 2048, "steps": 10000,
        "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return u_t + speed u_x."""
        return u["u_t"] + self.speed * u["u_x"]

    def initial(self, x: Array) -> Array:
        """Return sin x."""
        return jnp.sin(x)

    def exact(self, points: Array) -> Array:
        """Return sin(x - speed t)."""
        return jnp.sin(points[:, 1] - self.speed * points[:, 0])
