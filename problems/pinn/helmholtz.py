"""Helmholtz' equation on a square, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from physopt.options import Bounds, NonNegativeFloat, PositiveInt
from physopt.problems.pinn.base import PINN, Term

EDGE = ((0, -1.0), (0, 1.0), (1, -1.0), (1, 1.0))


@dataclasses.dataclass(frozen=True)
class HelmholtzPINN(PINN):
    """laplacian u + u = q on [-1, 1]^2, u = 0 on the edge.

    q is such that the solution is sin(a_1 pi x) sin(a_2 pi y), a = (1, 4). Unequal numbers of waves
    make the gradients of interior and edge conflict in the soft form.

    Source: Y. Hwang, D.-Y. Lim, arXiv 2409.18426; a = (6, 6) in J. F. Urban et al.,
    arXiv 2405.04230.
    """

    waves: tuple[PositiveInt, PositiveInt] = (1, 4)
    """Half waves along each half of the axes, (a_1, a_2)."""

    hidden: tuple[PositiveInt, ...] = (30, 30, 30)
    """Widths of the network's hidden layers, with tanh."""

    boundary: Literal["hard", "soft"] = "hard"
    """hard: u = (1 - x^2) (1 - y^2) N. soft: a term of the loss."""

    boundary_share: Annotated[float, Bounds(0, 1, above=True, below=True)] = 0.125
    """Fraction of the samples on the edge, for a soft boundary."""

    boundary_weight: NonNegativeFloat = 1.0
    """Weight of their mean square."""

    coordinates: ClassVar = "xy"
    entries: ClassVar = ("u", "laplacian")
    domain: ClassVar = ((-1.0, 1.0), (-1.0, 1.0))
    target: ClassVar = ("relative_l2", 1e-4)
    tiny: ClassVar = {"hidden": (4,), "points": "random", "boundary": "soft"}
    defaults: ClassVar = {
        "batch_size": 2048, "train_size": 2048, "heldout_size": 2048, "steps": 10000,
        "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def terms(self) -> tuple[Term, ...]:
        """Return the interior and, for a soft boundary, the edge."""
        edge = Term(self.boundary_share, self.boundary_weight, EDGE)
        return (Term(1.0), edge) if self.boundary == "soft" else (Term(1.0),)

    def residuals(self, u: Mapping[str, Array], points: Array) -> tuple[Array, ...]:
        """Return laplacian u + u - q, and u."""
        a, b = self.waves
        source = (1 - jnp.pi**2 * (a**2 + b**2)) * self.exact(points)
        return (u["laplacian"] + u["u"] - source, u["u"])[: len(self.terms())]

    def exact(self, points: Array) -> Array:
        """Return sin(a_1 pi x) sin(a_2 pi y)."""
        angle = jnp.pi * points * jnp.asarray(self.waves, points.dtype)
        return jnp.prod(jnp.sin(angle), axis=1)

    def factor(self, points: Array) -> Array:
        """Return a bubble that vanishes on a hard edge."""
        hard = self.boundary == "hard"
        return jnp.prod(1 - points**2, axis=1) if hard else super().factor(points)
