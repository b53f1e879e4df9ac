"""Inverse design of a porous matrix by two isotherms, under conditions that differ by sample.

The two isotherms are those at two temperatures, or of two components of a mixture. The network
receives the conditions beside the isotherms, so that one network serves them all.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.machine.devices import current_platform
from physopt.networks import Activation
from physopt.numerics.keys import key_of
from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.ldft.generators import DenseGenerator
from physopt.problems.ldft.inverse import inverse_step
from physopt.problems.ldft.losses import MISFITS, Misfit
from physopt.problems.ldft.options import InverseDesignOptions
from physopt.problems.ldft.relaxation import Relaxation, binary, relax, slope_of
from physopt.problems.ldft.targets import Texture, random_matrix
from physopt.problems.ldft.tolerances import Tolerances, in_training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BANKS = (10, 100)
"""Numbers of random matrices of which the baselines take the nearest."""


class PairLabels(NamedTuple):
    """Labels of the figure."""

    curves: tuple[str, str]
    uptake: str
    derived: str
    abscissa: str
    """That of the derived quantity."""


@dataclasses.dataclass(frozen=True)
class PairedDesign(Problem):
    """Design by two isotherms: a subclass defines them and the conditions.

    The unknown x [batch, *lattice] is the pre-activation of a binary matrix, as in ldft2d.
    y [batch, 2 points] holds the first isotherm and then the second.
    """

    rule_defaults: ClassVar = InverseDesignOptions.rule_defaults

    size: Annotated[int, Bounds(2)] = 20
    """Sites along each side of the lattice."""

    dimensions: Literal[2, 3] = 2
    """Dimensions of the lattice; a cubic one of 20^3 sites is large, so set the size too."""

    points: Annotated[int, Bounds(2)] = 20
    """Points 1/points, 2/points, ..., 1 of each isotherm."""

    hidden: tuple[PositiveInt, ...] = (256,)
    """Widths of the generator's hidden layers."""

    activation: Activation = "gelu"
    """Activation of the generator."""

    relaxation: Relaxation = "annealed"
    """Differentiable form of the matrix in training, as for ldft2d. Errors are always reported for
    the rounded matrix."""

    misfit: Misfit = "squared"
    """The loss of r = y - y*: squared, 1/2 sum r^2; area, mean |r|; smooth_area,
    sum sqrt(r^2 + 1e-4)."""

    textures: tuple[Texture, ...] = ("white", "correlated", "slits", "blocks")
    """Textures of the matrices whose isotherms are the targets."""

    inverse_iterations: PositiveInt = 1
    """Gauss-Newton iterations in one call of the inverse solver."""

    inverse_damping: PositiveFloat = 1e-2
    """Damping of the inverse solver, relative to the mean squared singular value."""

    tolerance: PositiveFloat | None = None
    """Error of the density at which the solver stops in training; none means 3e-5 in float32 and
    1e-10 in float64."""

    tiny: ClassVar = {"size": 4, "points": 4, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 8, "steps": 1000, "log_every": 50, "heldout_size": 64}
    conditions: ClassVar[int]
    """Number of conditions of a sample."""
    derived_metric: ClassVar[tuple[str, float]]
    """Name of the metric of the derived quantity, and the factor of its mean absolute error."""
    labels: ClassVar[PairLabels]

    @abstractmethod
    def isotherms(self, eta: jax.Array, conditions: jax.Array, tolerances: Tolerances) -> jax.Array:
        """Return y [batch, 2, points] under conditions u [batch, c] in [-1, 1]."""

    @abstractmethod
    def isotherms_and_jacobian(
        self, eta: jax.Array, conditions: jax.Array, tolerances: Tolerances
    ) -> tuple[jax.Array, jax.Array]:
        """Return y [batch, 2, points] and dy/deta [batch, 2, points, *lattice]."""

    @abstractmethod
    def derived(self, y: jax.Array, conditions: jax.Array) -> jax.Array:
        """Return the quantity that follows from both isotherms [batch, 2, points]: [batch, n]."""

    @abstractmethod
    def captions(self, conditions: jax.Array) -> list[str]:
        """Return the conditions of each sample in words."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sites along each axis."""
        return (self.size,) * self.dimensions

    @property
    def derived_at(self) -> np.ndarray:
        """Abscissas of `derived`, [n]."""
        return self.humidities

    @property
    def humidities(self) -> np.ndarray:
        """Relative pressures of the points, [points]."""
        return np.arange(1, self.points + 1) / self.points

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the dense generator, isotherms and conditions -> x."""
        inputs = 2 * self.points + self.conditions
        return DenseGenerator(inputs, self.shape, rngs, self.hidden, self.activation, "none")

    def sample(self, keys: jax.Array) -> Batch:
        """Draw isotherms of random matrices; extra holds the conditions u [batch, c]."""
        matrices, conditions = self._draw(keys)
        y = self.isotherms(matrices, conditions, self._tolerances(matrices))
        return self._batch(y, conditions)

    def held_out(self, keys: jax.Array) -> Batch:
        """Draw as in training, converged in float64; on a TPU, which has none, in float32."""
        matrices, conditions = self._draw(keys)
        if current_platform() == "tpu":
            y = self.isotherms(matrices, conditions, Tolerances(1e-6, 1e-5))
            return self._batch(y, conditions)
        dtype = matrices.dtype
        with jax.enable_x64(True):
            eta, u = (jax.lax.convert_element_type(a, jnp.float64) for a in (matrices, conditions))
            y = self.isotherms(eta, u, Tolerances(1e-10, 1e-10))
            return self._batch(jax.lax.convert_element_type(y, dtype), conditions)

    def matrix(self, x: jax.Array, progress: jax.Array) -> jax.Array:
        """Return pore fractions eta [batch, *lattice] in [0, 1]."""
        return relax(x, progress, self.relaxation)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return both isotherms of the matrix: x [batch, *lattice] -> y [batch, 2 points]."""
        y = self.isotherms(self.matrix(x, batch.progress), batch.extra, self._tolerances(x))
        return y.reshape(len(y), -1)

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx [batch, 2 points, *lattice] from one linear system per component."""
        y, slope = self._slope(self.matrix(x, batch.progress), batch.extra)
        return y, slope * slope_of(partial(self.matrix, progress=batch.progress), x)[:, None]

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x after Gauss-Newton steps of the relaxed matrix."""

        def physics(eta: jax.Array) -> tuple[jax.Array, jax.Array]:
            return self._slope(eta, batch.extra)

        steps, damping = self.inverse_iterations, self.inverse_damping
        return inverse_step(x, batch.target, physics, steps, damping)

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return the misfit of both isotherms."""
        return MISFITS[self.misfit](y - batch.target)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Evaluate the rounded matrix with the converged simulator.

        area_percent = 100 mean |y - y*| over both isotherms.
        """
        achieved, wanted = self._reported(x, batch), self._pairs(batch.target)
        difference = self.derived(achieved, batch.extra) - self.derived(wanted, batch.extra)
        name, factor = self.derived_metric
        return {
            "area_percent": 100 * jnp.mean(jnp.abs(achieved - wanted), axis=(1, 2)),
            name: factor * jnp.mean(jnp.abs(difference), axis=1),
            "porosity": jnp.mean(binary(x), axis=tuple(range(1, x.ndim))),
        }

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return the area error of the nearest of K random matrices, for each sample."""
        target, conditions = self._pairs(held_out.target), held_out.extra
        tolerances = Tolerances(1e-6, 1e-5)
        keys = jax.random.split(key_of(2**31), max(BANKS))  # contains no held-out matrix

        def errors(key: jax.Array) -> jax.Array:
            matrix = random_matrix(key, self.shape, self.textures)
            repeated = jnp.broadcast_to(matrix, (len(target), *self.shape))
            y = self.isotherms(repeated, conditions, tolerances)
            return 100 * jnp.mean(jnp.abs(y - target), axis=(1, 2))

        of_bank = jax.jit(lambda keys: jax.lax.map(errors, keys))(keys)  # [bank, batch]
        return {
            f"nearest_of_{size}": {"area_percent": float(jnp.mean(jnp.min(of_bank[:size], axis=0)))}
            for size in BANKS
        }

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> Figure:
        """Draw the rounded matrices, both isotherms and the quantity derived from them."""
        from physopt.problems.ldft.picture import draw_pairs

        x, target = jnp.asarray(x), self._pairs(jnp.asarray(batch.target))
        achieved = jax.jit(self._reported)(x, batch)
        derived = [self.derived(pair, batch.extra) for pair in (achieved, target)]
        grids = self.humidities, self.derived_at
        captions = self.captions(jnp.asarray(batch.extra))
        return draw_pairs(binary(x), (achieved, target), derived, grids, captions, self.labels)

    def _reported(self, x: jax.Array, batch: Batch) -> jax.Array:
        double = x.dtype == jnp.float64
        tolerances = Tolerances(*(1e-10, 1e-10) if double else (1e-6, 1e-5))
        return self.isotherms(binary(x), batch.extra, tolerances)

    def _slope(self, eta: jax.Array, conditions: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, slope = self.isotherms_and_jacobian(eta, conditions, self._tolerances(eta))
        return y.reshape(len(y), -1), slope.reshape(len(y), -1, *self.shape)

    def _tolerances(self, of: jax.Array) -> Tolerances:
        return in_training(of.dtype, self.tolerance)

    def _draw(self, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        split = jax.vmap(jax.random.split)(keys)
        matrices = jax.vmap(lambda key: random_matrix(key, self.shape, self.textures))(split[:, 0])
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (self.conditions,)))(split[:, 1])
        return matrices, 2 * uniform - 1

    def _pairs(self, y: jax.Array) -> jax.Array:
        return y.reshape(len(y), 2, self.points)

    def _batch(self, y: jax.Array, conditions: jax.Array) -> Batch:
        target = y.reshape(len(y), -1)
        inputs = jnp.concatenate([2 * target - 1, conditions], axis=1)
        return Batch(inputs=inputs, target=target, extra=conditions)
