"""Burgers' equation with a forming shock, by a physics-informed network."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.problems.pinn.evolution import EvolutionPINN
from physopt.problems.pinn.points import Placement

VISCOSITY = 0.01 / np.pi
NODES = 100
MOST_NODES = 300
"""Beyond 370 the weights of NumPy's Gauss-Hermite rule overflow to NaN."""

GRADING = 6.0


@dataclasses.dataclass(frozen=True)
class BurgersPINN(EvolutionPINN):
    """u_t + u u_x = nu u_xx, nu = 0.01 / pi, on t in [0, 1], x in [-1, 1]; u(0, x) = -sin(pi x).

    u = 0 at both ends. A shock of width 0.01 forms at x = 0 near t = 0.4. Few of evenly spaced
    points lie in it: a network that fits 2048 of them to 1e-6 has residuals of 0.3 elsewhere and an
    error of 0.1. Redrawing the points by their residuals, the default, avoids that;
    points=graded does in part, with x = sinh(6 s) / sinh(6).

    Reference: the transform of Cole and Hopf, see `cole_hopf`, to 15 digits.

    Source: M. Raissi et al., arXiv 1711.10561; the hard form and adaptive points of
    J. F. Urban et al., arXiv 2405.04230.
    """

    points: Placement = "adaptive"
    """Interior points of the training set. See `PINN`."""

    entries: ClassVar = ("u", "u_t", "u_x", "u_xx")
    domain: ClassVar = ((0.0, 1.0), (-1.0, 1.0))
    target: ClassVar = ("relative_l2", 1e-4)
    tiny: ClassVar = {"hidden": (4,), "points": "random"}
    defaults: ClassVar = {
        "batch_size": 2048, "train_size": 2048, "redraw": 200, "heldout_size": 2048,
        "steps": 10000, "log_every": None, "dtype": "float64",
    }  # fmt: skip

    def equation(self, u: Mapping[str, Array], points: Array) -> Array:
        """Return u_t + u u_x - nu u_xx."""
        return u["u_t"] + u["u"] * u["u_x"] - VISCOSITY * u["u_xx"]

    def initial(self, x: Array) -> Array:
        """Return -sin(pi x)."""
        return -jnp.sin(jnp.pi * x)

    def graded(self, unit: Array) -> Array:
        """Concentrate the points at x = 0."""
        x = jnp.sinh(GRADING * (2 * unit[:, 1] - 1)) / np.sinh(GRADING)
        return jnp.stack([unit[:, 0], (x + 1) / 2], axis=1)

    def exact(self, points: Array) -> Array:
        """Return the solution by `cole_hopf`."""
        return cole_hopf(points[:, 0], points[:, 1])


def cole_hopf(t: Array, x: Array, nodes: int = NODES) -> Array:
    """Return u(t, x) for u(0, x) = -sin(pi x), each [n].

    u = -int sin(pi (x - y)) F exp(-y^2 / 4 nu t) dy / int F exp(-y^2 / 4 nu t) dy with
    F = exp(-cos(pi (x - y)) / (2 pi nu)), by a Gauss-Hermite rule in z, y = 2 sqrt(nu t) z. The
    largest exponent is subtracted. Errors for t >= 0.01: 1e-8 with 50 nodes, 3e-16 with 100.
    Raises ValueError for more nodes than NumPy's rule has finite weights for.
    """
    if nodes > MOST_NODES:
        raise ValueError(f"{nodes} nodes: the weights of more than {MOST_NODES} overflow")
    z, weights = np.polynomial.hermite.hermgauss(nodes)
    angle = jnp.pi * (x[:, None] - 2 * jnp.sqrt(VISCOSITY * t)[:, None] * jnp.asarray(z, x.dtype))
    exponent = -jnp.cos(angle) / (2 * np.pi * VISCOSITY)
    largest = jax.lax.stop_gradient(jnp.max(exponent, axis=1, keepdims=True))
    density = jnp.asarray(weights, x.dtype) * jnp.exp(exponent - largest)
    return -jnp.sum(jnp.sin(angle) * density, axis=1) / jnp.sum(density, axis=1)
