"""Base of the equations in time and one space coordinate, with initial and boundary values."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from physopt.options import Bounds, NonNegativeFloat
from physopt.problems.pinn.base import PINN, Term


@dataclasses.dataclass(frozen=True)
class EvolutionPINN(PINN):
    """u(t, x) from its initial value, with u = 0 at both ends or periodic in x.

    hard: u = u_0(x) + (t - t_0) B(x) N(t, x), with B = 0 at both ends or 1 if periodic; every
    sample is an interior point. soft: initial values and, unless periodic, the ends are terms of
    the loss. In the periodic case the network sees cos and sin of 2 pi k x / L, k = 1 ... waves.
    """

    boundary: Literal["hard", "soft"] = "hard"
    """hard: initial and boundary values hold exactly. soft: they are terms of the loss."""

    boundary_share: Annotated[float, Bounds(0, 1, above=True, below=True)] = 0.25
    """Fraction of the samples of the soft form with initial or boundary values."""

    initial_weight: NonNegativeFloat = 1.0
    """Weight of the initial values in the soft form."""

    edge_weight: NonNegativeFloat = 1.0
    """Weight of the boundary values in the soft form; without effect on a periodic problem."""

    is_periodic: ClassVar[bool] = False
    waves: ClassVar[int] = 1

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return the residual of the differential equation, [batch]."""
        raise NotImplementedError

    def initial(self, x: Array) -> Array:
        """Return u at the first time."""
        raise NotImplementedError

    def terms(self) -> tuple[Term, ...]:
        """Return the interior; in the soft form also the initial line and the ends."""
        interior, (start, _), (left, right) = Term(1.0), *self.domain
        if self.boundary == "hard":
            return (interior,)
        share = self.boundary_share
        if self.is_periodic:
            return interior, Term(share, self.initial_weight, ((0, start),))
        ends = Term(share * 2 / 3, self.edge_weight, ((1, left), (1, right)))
        return interior, Term(share / 3, self.initial_weight, ((0, start),)), ends

    def residuals(self, u: Mapping[str, Array], points: Array) -> tuple[Array, ...]:
        """Return the equation's residual, u - u_0, and u."""
        if self.boundary == "hard":
            return (self.equation(u, points),)
        every = (self.equation(u, points), u["u"] - self.initial(points[:, 1]), u["u"])
        return every[: len(self.terms())]

    def features(self, points: Array) -> Array:
        """Return (t, x) scaled to [-1, 1], or t and waves in x if periodic."""
        scaled = super().features(points)
        if not self.is_periodic:
            return scaled
        angle = jnp.pi * scaled[:, 1:] * jnp.arange(1, self.waves + 1)
        return jnp.concatenate([scaled[:, :1], jnp.cos(angle), jnp.sin(angle)], axis=1)

    def offset(self, points: Array) -> Array:
        """Return the initial value in the hard form."""
        return self.initial(points[:, 1]) if self.boundary == "hard" else super().offset(points)

    def factor(self, points: Array) -> Array:
        """Return (t - t_0) B(x) in the hard form, B = 1 - s^2 with x scaled to s in [-1, 1]."""
        if self.boundary == "soft":
            return super().factor(points)
        time = points[:, 0] - self.domain[0][0]
        return time if self.is_periodic else time * (1 - PINN.features(self, points)[:, 1] ** 2)
