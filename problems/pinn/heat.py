"""The heat equation in time and space, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from physopt.options import PositiveInt
from physopt.problems.pinn.evolution import EvolutionPINN
from physopt.problems.pinn.points import Placement

DIFFUSIVITY = 0.25


@dataclasses.dataclass(frozen=True)
class HeatPINN(EvolutionPINN):
    """u_t = u_xx / 4 on (t, x) in [0, 1]^2, u(0, x) = sin(pi x), u = 0 at x = 0 and 1.

    The solution is exp(-pi^2 t / 4) sin(pi x).

    Source: J. Mueller, M. Zeinhofer, arXiv 2302.13163, section 4.3: the soft form, 900 interior
    points on a grid, 30 on each of the three edges, a network 2-64-1.
    """

    hidden: tuple[PositiveInt, ...] = (64,)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "grid"
    """Interior points of the training set; the source uses a grid. See `PINN` for the others."""

    entries: ClassVar = ("u", "u_t", "u_xx")
    domain: ClassVar = ((0.0, 1.0), (0.0, 1.0))
    target: ClassVar = ("relative_l2", 1e-6)
    tiny: ClassVar = {"hidden": (4,), "points": "random", "boundary": "soft"}
    defaults: ClassVar = {
        "batch_size": 900, "train_size": 900, "heldout_size": 2048, "steps": 5000,
        "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return u_t - u_xx / 4."""
        return u["u_t"] - DIFFUSIVITY * u["u_xx"]

    def initial(self, x: Array) -> Array:
        """Return sin(pi x)."""
        return jnp.sin(jnp.pi * x)

    def exact(self, points: Array) -> Array:
        """Return exp(-pi^2 t / 4) sin(pi x)."""
        t, x = points.T
        return jnp.exp(-DIFFUSIVITY * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)
