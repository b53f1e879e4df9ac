"""Poisson's equation in many dimensions, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.options import Bounds, NonNegativeFloat, OptionError, PositiveInt
from physopt.problems.pinn.base import PINN, Term
from physopt.problems.pinn.points import Placement


@dataclasses.dataclass(frozen=True)
class PoissonNDPINN(PINN):
    """-laplacian u = f on [0, 1]^d with given values on its faces.

    solution=cos: sum_i cos(pi x_i), rms sqrt(d / 2); sin: sum_i sin(pi x_i); harmonic:
    sum_i x_(2i-1) x_(2i) with f = 0, for even d. New points in every update by default.

    Sources: J. Mueller, M. Zeinhofer, arXiv 2302.13163 (d = 5, sin); A. Guzman-Cordero et al.,
    arXiv 2505.12149 (d = 5, cos; d = 10, harmonic), whose errors are absolute.
    """

    dimension: Annotated[int, Bounds(2, 100)] = 5
    """Number of coordinates."""

    solution: Literal["cos", "sin", "harmonic"] = "cos"
    """The solution."""

    hidden: tuple[PositiveInt, ...] = (64, 64, 48, 48)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "random"
    """Interior points of the training set. See `PINN`."""

    boundary_share: Annotated[float, Bounds(0, 1, above=True, below=True)] = 1 / 7
    """Fraction of the samples on the faces."""

    boundary_weight: NonNegativeFloat = 1.0
    """Weight of their mean square."""

    coordinates: ClassVar = ""
    entries: ClassVar = ("u", "laplacian")
    target: ClassVar = ("relative_l2", 1e-3)
    tiny: ClassVar = {"dimension": 3, "hidden": (4,)}
    defaults: ClassVar = {
        "batch_size": 3500, "heldout_size": 2048, "steps": 2000, "log_every": None,
        "dtype": "float64",
    }  # fmt: skip
    # The points are new in every update, but so many that a line search on them does not mislead.
    rule_defaults: ClassVar = {
        **PINN.rule_defaults,
        "hig": {"learning_rate": 1.0, "line_search": "grid", "tau": 1e-12},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.solution == "harmonic" and self.dimension % 2:
            reason = "the harmonic solution pairs the coordinates: an even number"
            raise OptionError(type(self), "dimension", self.dimension, reason)

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """The unit cube."""
        return np.zeros(self.dimension), np.ones(self.dimension)

    def terms(self) -> tuple[Term, ...]:
        """Return the interior and the faces."""
        faces = tuple((axis, side) for axis in range(self.dimension) for side in (0.0, 1.0))
        return Term(1.0), Term(self.boundary_share, self.boundary_weight, faces)

    def residuals(self, u: Mapping[str, Array], points: Array) -> tuple[Array, ...]:
        """Return -laplacian u - f, and u - u*."""
        true = self.exact(points)
        source = 0.0 if self.solution == "harmonic" else jnp.pi**2 * true
        return -u["laplacian"] - source, u["u"] - true

    def exact(self, points: Array) -> Array:
        """Return the solution."""
        if self.solution == "harmonic":
            return jnp.sum(points[:, ::2] * points[:, 1::2], axis=1)
        wave = jnp.cos if self.solution == "cos" else jnp.sin
        return jnp.sum(wave(jnp.pi * points), axis=1)
