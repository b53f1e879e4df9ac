"""Inverse design of porous matrices: find the matrix whose sorption isotherm is a wanted curve.

x is the generator's pre-activation, one number per lattice site; `matrix` turns it into pore
fractions eta in [0, 1]; y is the isotherm of eta; y* is the wanted one.

Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Activation, Dense, Normalization
from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.ldft.isotherm import isotherm, isotherm_and_jacobian
from physopt.problems.ldft.lattice import Fluid
from physopt.problems.ldft.targets import procedural_target, random_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Relaxation = Literal["annealed", "straight_through", "relaxed"]
Targets = Literal["mixture", "simulated", "procedural"]

SHARPEST = 8.0
ROUNDED_FROM = 0.6
SITE_BIAS = 1.0


@dataclasses.dataclass(frozen=True)
class InverseDesign(Problem):
    """Porous matrices with a wanted isotherm; the lattice is set by a subclass."""

    size: Annotated[int, Bounds(2)] = 20
    """Sites along each side of the lattice."""

    points: Annotated[int, Bounds(2)] = 40
    """Humidities 1/points, 2/points, ..., 1 at which isotherms are compared."""

    hidden: tuple[PositiveInt, ...] = (256,)
    """Widths of the generator's hidden layers."""

    activation: Activation = "gelu"
    """Of the hidden layers."""

    normalization: Normalization = "none"
    """Of the hidden layers; batch couples samples, and some rules refuse it."""

    relaxation: Relaxation = "annealed"
    """How a matrix stays differentiable in training. annealed: sigmoid(k x), k rising from 1 to 8
    with the budget spent, rounded with a straight-through gradient from 60 % on; straight_through:
    always rounded; relaxed: sigmoid(x). Reported errors are of the rounded matrix, whichever."""

    targets: Targets = "mixture"
    """Isotherms to train on: of simulated random matrices, procedural curves, or half and half."""

    tolerance: PositiveFloat | None = None
    """Estimated mean error of the density where the solver stops in training; none takes 3e-5 in
    float32 and 1e-10 in float64."""

    temperature: PositiveFloat = 298.0
    """In kelvin."""

    critical_temperature: PositiveFloat = 647.0
    """Of the bulk fluid, in kelvin."""

    interaction_ratio: Annotated[float, Bounds(0)] = 1.5
    """Attraction of the solid over that of the fluid, w_mf / w_ff; above 1/2 water wets it."""

    target: ClassVar = ("area_percent", 2.0)
    tiny: ClassVar = {"size": 4, "points": 5, "hidden": (8,)}
    dimensions: ClassVar[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sites along each axis."""
        return (self.size,) * self.dimensions

    @property
    def fluid(self) -> Fluid:
        """The fluid and its attraction to the solid."""
        return Fluid(self.temperature, self.critical_temperature, self.interaction_ratio)

    def sample(self, keys: jax.Array) -> Batch:
        """Draw target isotherms [batch, points]."""
        split = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        kind, procedural, matrix = split[:, 0], split[:, 1], split[:, 2]
        curves = jax.vmap(lambda key: procedural_target(key, self.points))(procedural)
        if self.targets == "procedural":
            return self._batch(curves)
        matrices = jax.vmap(lambda key: random_matrix(key, self.shape))(matrix)
        if self.targets == "simulated":
            return self._batch(self._isotherm(matrices))
        simulated = jax.vmap(jax.random.bernoulli)(kind)
        # A matrix without pores costs the solver nothing, and its curve is not used.
        used = matrices * simulated.reshape(-1, *(1,) * self.dimensions)
        return self._batch(jnp.where(simulated[:, None], self._isotherm(used), curves))

    def held_out(self, keys: jax.Array) -> Batch:
        """Draw isotherms of simulated matrices, converged in float64 where the device has it."""
        matrices = jax.vmap(lambda key: random_matrix(key, self.shape))(keys)
        if jax.default_backend() == "tpu":
            return self._batch(self._isotherm(matrices, tolerance=1e-6))
        dtype = matrices.dtype
        with jax.enable_x64(True):
            exact = jax.lax.convert_element_type(matrices, jnp.float64)
            curves = self._isotherm(exact, tolerance=1e-10)
            return self._batch(jax.lax.convert_element_type(curves, dtype))

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense generator with a random bias at each site, which breaks the lattice's
        translation symmetry.
        """
        return Generator(self, rngs)

    def matrix(self, x: jax.Array, progress: jax.Array) -> jax.Array:
        """Return pore fractions eta [batch, n, n] or [batch, n, n, n] in [0, 1]."""
        t = progress.reshape(-1, *(1,) * self.dimensions).astype(x.dtype)
        if self.relaxation == "annealed":
            soft = jax.nn.sigmoid(x * SHARPEST ** jnp.minimum(1, 1.5 * t))
            return jnp.where(t >= ROUNDED_FROM, _rounded(soft), soft)
        soft = jax.nn.sigmoid(x)
        return _rounded(soft) if self.relaxation == "straight_through" else soft

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the isotherm of the matrix: x [batch, n, n] -> y [batch, points]."""
        return self._isotherm(self.matrix(x, batch.progress))

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx [batch, points, n, n] for the cost of one gradient."""
        eta, vjp = jax.vjp(lambda x: self.matrix(x, batch.progress), x)
        y, slope = isotherm_and_jacobian(eta, **self._physics(eta.dtype))  # type: ignore[misc]
        # matrix acts site by site: the vjp of ones is its diagonal Jacobian.
        (diagonal,) = vjp(jnp.ones_like(eta))
        return y, slope * diagonal[:, None]

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the area between target and achieved isotherm, in per cent, and the porosity.

        Both are those of the rounded matrix.
        """
        rounded = jnp.round(jax.nn.sigmoid(x))
        if self.relaxation == "relaxed":
            y = self._isotherm(rounded)
        area = 100 * jnp.mean(jnp.abs(y - batch.target), axis=-1)
        return {"area_percent": area, "porosity": jnp.mean(rounded, axis=tuple(range(1, x.ndim)))}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> Figure:
        """Draw matrices with their isotherms."""
        from physopt.problems.ldft.picture import draw_designs

        return draw_designs(jnp.round(jax.nn.sigmoid(x)), y, batch.target)

    def _batch(self, target: jax.Array) -> Batch:
        return Batch(inputs=2 * target - 1, target=target)

    def _isotherm(self, matrices: jax.Array, tolerance: float | None = None) -> jax.Array:
        physics = self._physics(matrices.dtype)
        return isotherm(matrices, **{**physics, "tolerance": tolerance or physics["tolerance"]})  # type: ignore[arg-type,return-value]

    def _physics(self, dtype: jnp.dtype) -> dict[str, object]:
        default = 1e-10 if dtype == jnp.float64 else 3e-5
        return {
            "dimensions": self.dimensions,
            "spacing": 1 / self.points,
            "fluid": self.fluid,
            "tolerance": self.tolerance or default,
            "linear_tolerance": 1e-10 if dtype == jnp.float64 else 1e-3,
        }


@dataclasses.dataclass(frozen=True)
class LDFT2D(InverseDesign):
    """Inverse design of porous matrices on a square lattice, by their sorption isotherm.

    rho_i = eta_i sigmoid(beta (mu(h) + w_ff sum_j rho_j + w_mf sum_j (1 - eta_j))) at each of 40
    humidities; y(h) = sum rho / sum eta; loss 1/2 sum_h (y - y*)^2. The unknown x [batch, n, n] is
    the pre-activation of a binary matrix. area_percent is 100 mean_h |y - y*|.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """

    dimensions: ClassVar[int] = 2
    defaults: ClassVar = {"batch_size": 8, "steps": 1000, "log_every": 25}


class Generator(nnx.Module):
    """Dense network, isotherm [batch, points] -> pre-activation [batch, n, n]."""

    def __init__(self, problem: InverseDesign, rngs: nnx.Rngs):
        sites = problem.size**problem.dimensions
        self.dense = Dense(
            (problem.points, *problem.hidden, sites),
            rngs,
            activation=problem.activation,
            normalization=problem.normalization,
            bias_scale=SITE_BIAS,
        )
        self.shape = problem.shape

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        return self.dense(inputs).reshape(-1, *self.shape)


def _rounded(soft: jax.Array) -> jax.Array:
    """Round, with the derivative of not having rounded (straight-through)."""
    return soft + jax.lax.stop_gradient(jnp.round(soft) - soft)
