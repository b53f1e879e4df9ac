"""Inverse design of porous matrices: find a matrix with a given sorption isotherm.

x is the generator's pre-activation, one number per lattice site; `matrix` maps it to pore fractions
eta in [0, 1]; y is the isotherm of eta; y* is the target.

Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from physopt.machine.devices import current_platform
from physopt.problem import Batch
from physopt.problems.ldft.baselines import bank_baselines
from physopt.problems.ldft.curves import read_target, target_statement
from physopt.problems.ldft.estimators import nudged_gradient, subsampled_gradient
from physopt.problems.ldft.flips import flipped_unknowns
from physopt.problems.ldft.generators import HasGenerators
from physopt.problems.ldft.inverse import best_offset, inverse_step
from physopt.problems.ldft.isotherm import (
    IsothermOptions,
    isotherm,
    isotherm_and_jacobian,
    solver_settings,
)
from physopt.problems.ldft.lattice import Fluid
from physopt.problems.ldft.losses import MISFITS, penalty_roots
from physopt.problems.ldft.method import described
from physopt.problems.ldft.refinement import TOLERANCE, refined_matrices, unknowns_of
from physopt.problems.ldft.relaxation import binary, relax, slope_of
from physopt.problems.ldft.targets import (
    optimised_matrices,
    procedural_loop,
    procedural_target,
    random_matrix,
)
from physopt.problems.ldft.tolerances import in_training

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class InverseDesign(HasGenerators):
    """Porous matrices with a given isotherm; a subclass sets the lattice."""

    test_sets: ClassVar = ("procedural",)
    tiny: ClassVar = {"size": 4, "points": 5, "hidden": (8,), "channels": 4, "refine": 2}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw training targets: isotherms [batch, length]."""
        split = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
        kind, procedural, matrix = split[:, 0], split[:, 1], split[:, 2]
        if self.targets == "procedural":
            return self._batch(self._procedural(procedural))
        matrices = jax.vmap(self._random_matrix)(matrix)
        if self.targets == "simulated":
            return self._batch(self.isotherm(matrices))
        simulated = jax.vmap(jax.random.bernoulli)(kind)
        # Unused matrices lose their pores, which makes them free for the solver.
        used = matrices * simulated.reshape(-1, *(1,) * self.dimensions)
        curves = jnp.where(simulated[:, None], self.isotherm(used), self._procedural(procedural))
        return self._batch(curves)

    def held_out(self, keys: jax.Array) -> Batch:
        """Draw isotherms of random and of optimised matrices, converged in float64.

        On a TPU, which has no float64, they are converged in float32.
        """
        matrices = self.held_out_matrices(keys)
        if current_platform() == "tpu":
            return self._batch(self.isotherm(matrices, tolerance=1e-6))
        dtype = matrices.dtype
        with jax.enable_x64(True):
            exact = jax.lax.convert_element_type(matrices, jnp.float64)
            curves = self.isotherm(exact, tolerance=1e-10)
            return self._batch(jax.lax.convert_element_type(curves, dtype))

    def held_out_matrices(self, keys: jax.Array) -> jax.Array:
        """Draw the matrices of the held-out isotherms, some of them optimised."""
        split = jax.vmap(lambda key: jax.random.split(key, 4))(keys)
        random = jax.vmap(self._random_matrix)(split[:, 0])
        if not (share := self.optimised_fraction):
            return random
        optimised = jax.vmap(lambda key: jax.random.bernoulli(key, share))(split[:, 1])
        drawn = random, optimised, split[:, 2], self._procedural(split[:, 3])
        return optimised_matrices(*drawn, self._slope, self.optimiser)

    def test_set(self, name: str, keys: jax.Array) -> Batch:
        """Draw procedural isotherms, many of which are unreachable."""
        return self._batch(self._procedural(keys))

    def matrix(self, x: jax.Array, progress: jax.Array) -> jax.Array:
        """Return pore fractions eta [batch, *lattice] in [0, 1]."""
        return relax(x, progress, self.relaxation, self.slope_sharpness)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the isotherm of the matrix, followed by the square roots of the penalties.

        x [batch, *lattice] -> y [batch, length + penalties].
        """
        eta = self.matrix(x, batch.progress)
        return self._with_penalties(self._trained(eta), eta, batch.progress)

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx [batch, |y|, *lattice].

        It costs as much as one gradient for gradient=implicit, otherwise one backward pass through
        the sweeps per humidity.
        """
        eta = self.matrix(x, batch.progress)
        y, slope = (self._slope if self.gradient == "implicit" else self._unrolled_slope)(eta)
        penalties = jax.vmap(jax.jacrev(self._penalties_of_one))(eta, batch.progress)
        slope = jnp.concatenate([slope, penalties], axis=1)
        diagonal = slope_of(partial(self.matrix, progress=batch.progress), x)
        return self._with_penalties(y, eta, batch.progress), slope * diagonal[:, None]

    def plan(self) -> str | None:
        """Return on a GPU whether kernels solve the isotherms; elsewhere loops do."""
        return described(self.size, self.dimensions)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x after steps of the inverse solver: of the relaxed or of the rounded matrix."""
        if self.inverse == "flips":
            return self.refined(x, batch, self.inverse_iterations)
        if self.inverse_offsets:
            x = best_offset(x, batch.target, self.isotherm, self.inverse_offsets)
        return inverse_step(
            x, batch.target, self._slope, self.inverse_iterations, self.inverse_damping
        )

    def estimate_gradient_equilibrium(
        self, x: jax.Array, batch: Batch, key: jax.Array, nudge: float
    ) -> jax.Array:
        """Return dL/dx of the mean loss from equilibria at +-nudge: [batch, *lattice].

        `nudge` is the shift of the chemical potential in units of kT, the same at every humidity.
        """
        return self._estimated(x, batch, partial(nudged_gradient, nudge=nudge))

    def estimate_gradient_subsampled(
        self, x: jax.Array, batch: Batch, key: jax.Array, fraction: float
    ) -> jax.Array:
        """Return an unbiased dL/dx of the mean loss from a fraction of the humidities."""
        return self._estimated(x, batch, partial(subsampled_gradient, key=key, fraction=fraction))

    def _estimated(
        self, x: jax.Array, batch: Batch, estimate: Callable[..., jax.Array]
    ) -> jax.Array:
        """Return dL/dx with an estimate of dL/deta for the physics and exact penalties."""

        def loss(y: jax.Array, eta: jax.Array) -> jax.Array:
            return jnp.mean(self.loss(self._with_penalties(y, eta, batch.progress), batch))

        eta, pull = jax.vjp(lambda x: self.matrix(x, batch.progress), x)
        settings = solver_settings(eta, **self._options(eta.dtype))
        rows = settings.lattice.flatten(eta)
        of_physics = estimate(settings, rows, lambda y: jax.grad(loss)(y, eta))
        of_penalties = jax.grad(loss, argnums=1)(batch.target, eta)
        return pull(settings.lattice.unflatten(of_physics) + of_penalties)[0]

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return the misfit of the isotherm plus half the squared penalty residuals."""
        penalty = 0.5 * jnp.sum(y[:, self.length :] ** 2, axis=-1)
        return MISFITS[self.misfit](y[:, : self.length] - batch.target) + penalty

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Evaluate the rounded matrix with the converged simulator, and the relaxed matrix too.

        area_percent = 100 mean_h |y - y*|; unconverged counts humidities of the rounded matrix.
        """
        rounded = binary(x)
        options = self._options(x.dtype, reported=True)
        of_rounded, convergence = isotherm(rounded, return_convergence=True, **options)
        of_relaxed = self.isotherm(jax.nn.sigmoid(x))
        return {
            "area_percent": 100 * jnp.mean(jnp.abs(of_rounded - batch.target), axis=-1),
            "area_percent_relaxed": 100 * jnp.mean(jnp.abs(of_relaxed - batch.target), axis=-1),
            "porosity": jnp.mean(rounded, axis=tuple(range(1, x.ndim))),
            "unconverged": convergence.unconverged.astype(x.dtype),
        }

    def read_target(self, path: Path) -> Batch:
        """Read a user's isotherm; `extra` holds its points, humidity and content [1, n]."""
        target, measured = read_target(path, self.points, self.desorption)
        return self._batch(jnp.asarray(target, dtype=float), measured).at(1.0)

    def target_statement(self, path: Path) -> dict[str, str]:
        """Return how a user's isotherm is read: units, range, branches, normalisation."""
        return target_statement(path, self.points, self.desorption)

    def design(self, x: jax.Array) -> jax.Array:
        """Return the binary matrices: 1 pore, 0 solid."""
        return binary(x)

    def refined(self, x: jax.Array, batch: Batch, effort: int) -> jax.Array:
        """Return x with the signs of the matrix after `effort` isotherms of inverse solvers.

        A flipped site has its x at inverse_margin on the other side of zero. The new matrix is
        never worse in mean_h |y - y*| + continuity R.
        """
        matrices = self._refined_matrices(x, batch.target, effort)
        return flipped_unknowns(x, matrices, self.inverse_margin)

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Evaluate baselines without training: a fixed matrix, and the nearest of a bank.

        The nearest of the largest bank is also refined.
        """

        def refine(matrices: jax.Array, target: jax.Array) -> jax.Array:
            return self._refined_matrices(unknowns_of(matrices), target, self.refine)

        return bank_baselines(
            *(self._random_matrix, self.isotherm, held_out.target),
            refine if self.refine else None,
        )

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> Figure:
        """Draw the rounded matrices, their water densities and their isotherms."""
        return self._figure(batch, x)

    def refined_figure(self, x: jax.Array, refined: jax.Array, batch: Batch) -> Figure:
        """Draw the rounded matrices of x and of the refined x, and the isotherms of both."""
        before, _, y = self._drawn(x)
        return self._figure(batch, refined, (before, y))

    def _figure(self, batch: Batch, x: jax.Array, before: Any = None) -> Figure:
        from physopt.problems.ldft.picture import draw_designs

        return draw_designs(*self._drawn(x), batch.target, self.points, before, batch.extra)

    def _drawn(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return rounded matrices, their densities and their isotherms."""
        rounded = binary(jnp.asarray(x))
        options = self._options(rounded.dtype, reported=True)
        # Outside jit every loop of the solver would be compiled by itself.
        achieved, density = jax.jit(partial(isotherm, return_density=True, **options))(rounded)
        return rounded, density, achieved

    def _refined_matrices(self, x: jax.Array, target: jax.Array, effort: int) -> jax.Array:
        options = self._options(x.dtype, reported=True)
        if x.dtype != jnp.float64:
            options["tolerance"] = TOLERANCE
        return refined_matrices(
            *(x, target, partial(isotherm_and_jacobian, **options), effort),
            damping=self.inverse_damping,
            continuity=self.continuity,
        )

    def isotherm(self, matrices: jax.Array, tolerance: float | None = None) -> jax.Array:
        """Return the isotherms [batch, length] of pore fractions [batch, *lattice]."""
        options = self._options(matrices.dtype)
        if tolerance is not None:
            options["tolerance"] = tolerance
        return isotherm(matrices, **options)

    def _trained(self, eta: jax.Array) -> jax.Array:
        """Return the isotherm as training differentiates it."""
        options = self._options(eta.dtype)
        return isotherm(eta, gradient=self.gradient, sweeps=self.sweeps, **options)

    def _unrolled_slope(self, eta: jax.Array) -> tuple[jax.Array, jax.Array]:
        def of_one(eta: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = self._trained(eta[None])[0]
            return y, y

        slope, y = jax.vmap(jax.jacrev(of_one, has_aux=True))(eta)
        return y, slope

    def _slope(self, eta: jax.Array) -> tuple[jax.Array, jax.Array]:
        return isotherm_and_jacobian(eta, **self._options(eta.dtype))

    def _options(self, dtype: Any, *, reported: bool = False) -> IsothermOptions:
        """Return the options of `isotherm` in training, or as reported: at its own tolerance."""
        tolerances = in_training(dtype, self.tolerance)
        return {
            "dimensions": self.dimensions,
            "spacing": 1 / self.points,
            "desorption": self.desorption,
            "fluid": Fluid(self.temperature, self.critical_temperature, self.interaction_ratio),
            "tolerance": None if reported else tolerances.density,
            "linear_tolerance": tolerances.linear,
        }

    def _random_matrix(self, key: jax.Array) -> jax.Array:
        return random_matrix(key, self.shape, self.textures)

    def _procedural(self, keys: jax.Array) -> jax.Array:
        draw = procedural_loop if self.desorption else procedural_target
        return jax.vmap(lambda key: draw(key, self.points))(keys)

    def _batch(self, target: jax.Array, extra: Any = ()) -> Batch:
        return Batch(inputs=2 * target - 1, target=target, extra=extra)

    def _with_penalties(self, y: jax.Array, eta: jax.Array, progress: jax.Array) -> jax.Array:
        return jnp.concatenate([y, jax.vmap(self._penalties_of_one)(eta, progress)], axis=1)

    def _penalties_of_one(self, eta: jax.Array, progress: jax.Array) -> jax.Array:
        return penalty_roots(eta, self.continuity, self.binarisation, progress)
