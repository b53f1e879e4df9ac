"""Poisson's equation on the unit square, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from physopt.options import Bounds, NonNegativeFloat, PositiveInt
from physopt.problems.pinn.base import PINN, Term
from physopt.problems.pinn.points import Placement

EDGE = ((0, 0.0), (0, 1.0), (1, 0.0), (1, 1.0))


@dataclasses.dataclass(frozen=True)
class PoissonPINN(PINN):
    """-laplacian u = 2 pi^2 sin(pi x) sin(pi y) on the unit square, u = 0 on its edge.

    The solution is sin(pi x) sin(pi y), with a root mean square of 1/2. With 1020 points on the
    grid, 30 x 30 lie inside and 30 on each side. Second-order rules reach relative errors of 1e-6
    within seconds in float64; in float32 the floor is 4e-6 to 1e-5.

    The loss of the source has no factor 1/2, and its errors are absolute: half the relative ones.

    Source: J. Mueller, M. Zeinhofer, arXiv 2302.13163, section 4.1.
    """

    hidden: tuple[PositiveInt, ...] = (32,)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "grid"
    """Interior points of the training set; the source uses a grid. See `PINN` for the others."""

    boundary: Literal["soft", "hard"] = "soft"
    """soft: a term of the loss. hard: u = x (1 - x) y (1 - y) N, without samples on the edge."""

    boundary_share: Annotated[float, Bounds(0, 1, above=True, below=True)] = 2 / 17
    """Fraction of the samples on the edge, for a soft boundary."""

    boundary_weight: NonNegativeFloat = 4.0
    """Weight of their mean square; 4 is the length of the edge."""

    coordinates: ClassVar = "xy"
    entries: ClassVar = ("u", "laplacian")
    domain: ClassVar = ((0.0, 1.0), (0.0, 1.0))
    target: ClassVar = ("relative_l2", 1e-6)
    tiny: ClassVar = {"hidden": (4,), "points": "random"}
    defaults: ClassVar = {
        "batch_size": 1020, "train_size": 1020, "heldout_size": 2048, "steps": 5000,
        "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def terms(self) -> tuple[Term, ...]:
        """Return the interior and, for a soft boundary, the edge."""
        edge = Term(self.boundary_share, self.boundary_weight, EDGE)
        return (Term(1.0), edge) if self.boundary == "soft" else (Term(1.0),)

    def residuals(self, u: Mapping[str, Array], points: Array) -> tuple[Array, ...]:
        """Return -laplacian u - f, and u."""
        source = 2 * jnp.pi**2 * self.exact(points)
        return (-u["laplacian"] - source, u["u"])[: len(self.terms())]

    def exact(self, points: Array) -> Array:
        """Return sin(pi x) sin(pi y)."""
        return jnp.prod(jnp.sin(jnp.pi * points), axis=1)

    def factor(self, points: Array) -> Array:
        """Return a bubble that vanishes on a hard edge."""
        hard = self.boundary == "hard"
        return jnp.prod(points * (1 - points), axis=1) if hard else super().factor(points)
