"""Two solitons of the Korteweg-de Vries equation, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from physopt.options import PositiveInt
from physopt.problems.pinn.base import Term
from physopt.problems.pinn.evolution import EvolutionPINN
from physopt.problems.pinn.points import Placement

SPEEDS = (6.0, 2.0)
PLACES = (-2.0, 2.0)
LENGTH = 20.0


@dataclasses.dataclass(frozen=True)
class KdVSolitonsPINN(EvolutionPINN):
    """u_t + 6 u u_x + u_xxx = 0 on t in [0, 5], x in [0, 20]: a soliton overtakes another.

    Speeds 6 and 2, from x = -2 and 2; the faster one enters at x = 0 and leaves at x = 20. Given
    are u at t = 0 and at both ends, and u_x at the right end, which makes the solution unique. It
    has a closed form, see `solitons`.

    hard: u = A + t s (1 - s)^2 N with s = x / 20, where A has the given values.

    Source: J. F. Urban et al., arXiv 2405.04230.
    """

    hidden: tuple[PositiveInt, ...] = (30, 30, 30)
    """Widths of the network's hidden layers, with tanh."""

    points: Placement = "adaptive"
    """Interior points of the training set. See `PINN`."""

    entries: ClassVar = ("u", "u_t", "u_x", "u_xxx")
    domain: ClassVar = ((0.0, 5.0), (0.0, LENGTH))
    target: ClassVar = ("relative_l2", 1e-3)
    tiny: ClassVar = {"hidden": (4,), "points": "random"}
    defaults: ClassVar = {
        "batch_size": 2048, "train_size": 2048, "redraw": 200, "heldout_size": 2048,
        "steps": 10000, "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def terms(self) -> tuple[Term, ...]:
        """Return the interior; in the soft form also u at t = 0 and at the ends, and u_x."""
        if self.boundary == "hard":
            return (Term(1.0),)
        share, left, right = self.boundary_share / 3, (1, 0.0), (1, LENGTH)
        return (
            Term(1.0),
            Term(share, self.initial_weight, ((0, 0.0),)),
            Term(share, self.edge_weight, (left, right)),
            Term(share, self.edge_weight, (right,)),
        )

    def residuals(self, u: Mapping[str, Array], points: Array) -> tuple[Array, ...]:
        """Return the equation's residual, u - u* twice, and u_x - u*_x."""
        if self.boundary == "hard":
            return (self.equation(u, points),)
        t, x = points.T
        true, slope = _with_slope(t, x)
        return self.equation(u, points), u["u"] - true, u["u"] - true, u["u_x"] - slope

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return u_t + 6 u u_x + u_xxx."""
        return u["u_t"] + 6 * u["u"] * u["u_x"] + u["u_xxx"]

    def initial(self, x: Array) -> Array:
        """Return u at t = 0."""
        return solitons(jnp.zeros_like(x), x)

    def exact(self, points: Array) -> Array:
        """Return the solution by `solitons`."""
        return solitons(*points.T)

    def offset(self, points: Array) -> Array:
        """Return A in the hard form: u at t = 0, and what Hermite's polynomial adds at the ends."""
        if self.boundary == "soft":
            return super().offset(points)
        t, x = points.T
        start, left, right = jnp.zeros_like(t), jnp.zeros_like(x), jnp.full_like(x, LENGTH)
        (value, slope), (first, first_slope) = _with_slope(t, right), _with_slope(start, right)
        at_left = solitons(t, left) - solitons(start, left)
        rest = (1 - x / LENGTH) ** 2
        return (
            self.initial(x)
            + at_left * rest
            + (value - first) * (1 - rest)
            - (slope - first_slope) * x * (1 - x / LENGTH)
        )

    def factor(self, points: Array) -> Array:
        """Return t s (1 - s)^2 in the hard form."""
        t, s = points[:, 0], points[:, 1] / LENGTH
        return super().factor(points) if self.boundary == "soft" else t * s * (1 - s) ** 2


def solitons(t: Array, x: Array) -> Array:
    """Return u(t, x) of two solitons with speeds c_1 > c_2 that were at x_1 and x_2 at t = 0.

    With k_i = sqrt(c_i) and T_i = tanh(k_i (x - c_i t - x_i) / 2),
    u = (c_1 - c_2) / 2 (c_1 (1 - T_1^2) + c_2 T_1^2 (1 - T_2^2)) / (k_1 - k_2 T_1 T_2)^2,
    which is 2 d^2/dx^2 log of ((k_1 - k_2) cosh(z_1 + z_2) + (k_1 + k_2) cosh(z_1 - z_2)) with the
    arguments z_i of the tanh.
    """
    k, tanh = [], []
    for speed, place in zip(SPEEDS, PLACES, strict=True):
        k.append(speed**0.5)
        tanh.append(jnp.tanh(k[-1] / 2 * (x - speed * t - place)))
    (fast, slow), (a, b) = SPEEDS, tanh
    crests = fast * (1 - a**2) + slow * a**2 * (1 - b**2)
    return (fast - slow) / 2 * crests / (k[0] - k[1] * a * b) ** 2


def _with_slope(t: Array, x: Array) -> tuple[Array, Array]:
    """Return u and u_x of `solitons`."""
    return jax.jvp(lambda x: solitons(t, x), (x,), (jnp.ones_like(x),))
