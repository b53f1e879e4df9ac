"""The problem `pressure_guess`: a network's guess from which conjugate gradients go on."""

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fields import LARGE_OUTPUT
from physopt.problems.fluid.closed_box import solve_in_closed_box
from physopt.problems.fluid.closed_flow import closed_box
from physopt.problems.fluid.conjugate_gradient import (
    System,
    conjugate_gradient,
    iterated,
    largest_residuals,
)
from physopt.problems.fluid.walls import laplacian_in, pressure_system, solvable
from physopt.problems.solver_loop.guess_network import PressureUNet
from physopt.problems.solver_loop.smoke import random_divergence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 500
"""Limit of the iterations that are counted, that of the source."""

Misfit = Literal["supervised", "residual", "solver", "solver_residual"]


@dataclasses.dataclass(frozen=True)
class PressureGuess(Problem):
    """Guess the pressure of a fluid, so that conjugate gradients (CG) need few iterations.

    In a closed box the pressure solves laplace p = d; d [batch, n, n], of unit standard deviation,
    is the divergence in a simulation of rising smoke. x [batch, n, n] is the guess, and CG_k(x) the
    pressure after k = solver_steps iterations from it. Loss 1/2 sum (y - y*)^2, with

        misfit=supervised        y = x               y* = p
        misfit=residual          y = laplace x       y* = d
        misfit=solver            y = CG_k(x) - x     y* = 0
        misfit=solver_residual   y = laplace CG_k(x) y* = d

    where pressures have no mean. iterations: CG from x until no cell's residual exceeds
    `tolerance`. pressure_error = |x - p| / |p|; residual_error = |laplace x - d| / |d|. The
    baseline is CG from zero.

    The physics is linear in x, except for CG_k, whose step lengths depend on x. All misfits vanish
    at p alone, but weight its parts differently: the residual hardly shows the coarse ones, which
    take CG longest.

    Source: K. Um, R. Brand, Y. Fei, P. Holl, N. Thuerey, arXiv 2007.00016 (NeurIPS 2020): NON, PHY
    and SOL; solver_residual and details are those of its program. Forces, walls and velocities on
    their faces are our discretisation.
    """

    size: Annotated[int, Bounds(8)] = 32
    """Cells along each side; 64 in the source."""

    frames: PositiveInt = 4
    """Steps of a simulation, one of which is drawn; 16 in the source."""

    misfit: Misfit = "solver"
    """What the loss compares."""

    solver_steps: PositiveInt = 5
    """k, iterations inside the loss and the inverse step."""

    inverse: Literal["solver", "exact"] = "solver"
    """Inverse step: CG_k(x), or the exact pressure, with which sip trains as adam does with
    misfit=supervised."""

    tolerance: PositiveFloat = 1e-3
    """Largest residual at which iterations are no longer counted."""

    features: tuple[PositiveInt, ...] = (4, 8, 16, 32)
    """Channels of the network's levels, the finest one first."""

    target: ClassVar = ("iterations", 60.0)
    tiny: ClassVar = {"size": 8, "frames": 2, "features": (2, 4)}
    rule_defaults: ClassVar = LARGE_OUTPUT
    defaults: ClassVar = {
        "batch_size": 16, "train_size": 2048, "steps": 1000, "log_every": 50,
    }  # fmt: skip

    def sample(self, keys: jax.Array) -> Batch:
        """Draw divergences [batch, n, n]; extra holds their pressures."""
        divergence = jax.vmap(lambda key: random_divergence(key, self.size, self.frames))(keys)
        pressure = jax.vmap(solve_in_closed_box)(divergence)
        targets = {
            "supervised": pressure,
            "residual": divergence,
            "solver": jnp.zeros_like(divergence),
            "solver_residual": divergence,
        }
        return Batch(inputs=divergence, target=targets[self.misfit], extra=pressure)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a U-net, divergence [batch, n, n] -> guess [batch, n, n]."""
        # About the standard deviation of pressures, which are as coarse as the box is large.
        return PressureUNet(self.features, self.size / 2, rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return zero guesses."""
        return jnp.zeros_like(batch.inputs)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return what the misfit compares: [batch, n, n] -> [batch, n, n]."""
        box = closed_box(self.size)
        observe = {
            "supervised": lambda x, _: solvable(box, x),
            "residual": lambda x, _: laplacian_in(box, x),
            "solver": lambda x, divergence: self._improved(x, divergence) - x,
            "solver_residual": lambda x, divergence: laplacian_in(
                box, self._improved(x, divergence)
            ),
        }
        return jax.vmap(observe[self.misfit])(x, batch.inputs)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return CG_k(x) or the exact pressure, [batch, n, n]."""
        if self.inverse == "exact":
            return batch.extra
        return jax.vmap(self._improved)(x, batch.inputs)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return iterations from x, and relative errors of x."""
        box = closed_box(self.size)
        centred = jax.vmap(partial(solvable, box))(x)
        residual = jax.vmap(partial(laplacian_in, box))(x) - batch.inputs
        return {
            "iterations": jax.vmap(self.iterations)(x, batch.inputs),
            "pressure_error": _norm(centred - batch.extra) / _norm(batch.extra),
            "residual_error": _norm(residual) / _norm(batch.inputs),
        }

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return the iterations from a zero guess."""
        divergence = jnp.asarray(held_out.inputs)
        counts = jax.jit(jax.vmap(self.iterations))(jnp.zeros_like(divergence), divergence)
        return {"zero guess": {"iterations": float(jnp.mean(counts))}}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw divergence, pressure and guess, and the residuals of CG from zero and from x."""
        from physopt.problems.solver_loop.picture import draw_guesses

        x, divergence = jnp.asarray(x), jnp.asarray(batch.inputs)
        box, count = closed_box(self.size), 5 * self.size
        residuals = jax.jit(jax.vmap(partial(self._residuals, count)))
        curves = {
            "zero": residuals(jnp.zeros_like(x), divergence),
            "network": residuals(x, divergence),
        }
        centred = jax.vmap(partial(solvable, box))(x)
        return draw_guesses(divergence, batch.extra, centred, curves, self.tolerance)

    def iterations(self, guess: jax.Array, divergence: jax.Array) -> jax.Array:
        """Return how many iterations CG takes from a guess [n, n], at most MOST."""
        state = conjugate_gradient(self._system(divergence), guess, self.tolerance, MOST)
        return state.iterations.astype(guess.dtype)

    def _improved(self, guess: jax.Array, divergence: jax.Array) -> jax.Array:
        """Return CG_k(x) of one sample, [n, n]."""
        return iterated(self._system(divergence), guess, self.solver_steps)

    def _residuals(self, count: int, guess: jax.Array, divergence: jax.Array) -> jax.Array:
        """Return the largest residual before and after each of `count` iterations."""
        return largest_residuals(self._system(divergence), guess, count)

    def _system(self, divergence: jax.Array) -> System:
        return pressure_system(closed_box(self.size), divergence)


def _norm(field: jax.Array) -> jax.Array:
    return jnp.linalg.norm(field, axis=(1, 2))
