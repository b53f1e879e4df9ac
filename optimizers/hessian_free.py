"""Hessian-free optimisation: Gauss-Newton steps by conjugate gradients, without a matrix."""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from physopt.machine.devices import memory_limit
from physopt.objective import Objective
from physopt.optimizers.backtracking import first_length
from physopt.optimizers.gain import gain_ratio
from physopt.optimizers.products import product_cost, products_of, with_products
from physopt.options import Decay, PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.rule import Info, Parameters, PlanError, State, UpdateRule

SPACING = 1.3
"""Ratio of the numbers of iterations after which a solution is kept for the backtracking."""

PROGRESS = 5e-4
"""Relative progress per iteration below which conjugate gradients stop."""

ARMIJO = {"share": 1e-2, "factor": 0.8, "trials": 60}
"""Line search: share of the linear decrease to be reached, factor between lengths, their number."""


REGRET = 4.0
"""Factor on the damping after a step that raises the loss of the next samples."""


class HessianFreeState(NamedTuple):
    """State between updates."""

    damping: Array  # lambda, 0 before the first update
    solution: Array  # [P], of the last system
    step: Array  # [P], the last one


class Conjugate(NamedTuple):
    """State of conjugate gradients on B d = g; phi(d) = d^T B d / 2 - g^T d."""

    d: Array  # [P]
    residual: Array  # [P], g - B d
    direction: Array  # [P]
    square: Array  # |residual|^2
    values: Array  # [iterations + 1], phi after each of them
    kept: Array  # [kept, P], solutions
    made: Array  # int32, iterations


@dataclasses.dataclass(frozen=True)
class HessianFree(UpdateRule):
    """Hessian-free: theta <- theta - t d with (A^T A + lambda I) d = dL/dtheta, solved iteratively.

    A = J / sqrt(b) is the Jacobian of r = sqrt(b) dL/dy, for a batch of b samples, and enters by
    products only. Conjugate gradients begin at `warm_start` times the last solution and stop when
    phi(d) = d^T (A^T A + lambda I) d / 2 - d^T dL/dtheta falls by less than 5e-4 per iteration,
    over the last tenth of the iterations. Of the solutions after 1, 2, 3, 4, 5, 7, ... iterations
    the one is taken before which the loss begins to rise, going back from the last. t is the first
    of 1, 0.8, 0.64, ... that lowers the loss by 1 % of the linear prediction; if there is none, t
    is 0. With rho the decrease of the loss over that of its quadratic model, lambda is multiplied
    by 3/2 if rho < 1/4 and by 2/3 if rho > 3/4, and by 4 after a step that raises the loss of the
    next update's samples, which happens only if they are others. Steps fit their own samples
    closely: use a fixed set (train_size equal to batch_size) or large batches.

    info holds damping, iterations, gain (rho) and length (t).
    optimistix solves least-squares problems by direct factorisations and jaxopt is unmaintained;
    neither has the warm start or the backtracking. Source: J. Martens, ICML 2010; J. Martens,
    I. Sutskever, doi 10.1007/978-3-642-35289-8_27.
    """

    damping: PositiveFloat = 1e-2
    """Initial lambda, relative to the curvature |A g|^2 / |g|^2 along the first gradient g."""

    iterations: PositiveInt = 250
    """Largest number of iterations of conjugate gradients per update."""

    warm_start: Decay = 0.95
    """Factor on the last solution, from which conjugate gradients begin."""

    tunable: ClassVar = {"damping": (1e-5, 1e1)}

    def refuses(self, objective: Objective) -> str | None:
        """Refuse batch normalisation."""
        return objective.without_jacobians()

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return how products with J are computed; raises PlanError if memory is exceeded."""
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        itemsize = jnp.result_type(*jax.tree.leaves(params)).itemsize
        needed = (len(self._marks()) + 10) * size * itemsize
        if needed > (limit := memory_limit()):
            raise PlanError(
                f"solutions of {size} parameters need {needed / 1e9:.3g} GB of memory, more than "
                f"{limit / 1e9:.3g}; use fewer rule.iterations"
            )
        way = products_of(objective, params, batch)
        return f"at most {self.iterations} conjugate gradients per update, {way}"

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return no damping and no solution."""
        flat = ravel_pytree(params)[0]
        zeros = jnp.zeros_like(flat)
        return HessianFreeState(jnp.zeros((), flat.dtype), zeros, zeros)

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return a damped Gauss-Newton step."""
        flat, unravel = ravel_pytree(params)
        system, push = with_products(objective, params, batch)
        gradient = ravel_pytree(system.pull(system.gradient))[0]

        def gauss_newton(v: Array) -> Array:
            return ravel_pytree(system.pull(push(unravel(v))))[0] / len(batch)

        def loss(d: Array) -> Array:
            return objective.trial(unravel(flat - d), batch)

        # The first update begins at 0: the product that the residual needs measures the curvature.
        square, first = gradient @ gradient, state.damping <= 0
        start = self.warm_start * state.solution
        image = gauss_newton(jnp.where(first, gradient, start))
        curvature = gradient @ image / jnp.where(square > 0, square, 1)
        # A step that other samples than its own regret: their loss has risen beyond rounding.
        rounding = 10 * float(jnp.finfo(flat.dtype).eps) * jnp.abs(system.loss)
        regretted = loss(state.step) < system.loss - rounding
        damping = jnp.where(regretted, REGRET * state.damping, state.damping)
        damping = jnp.where(first, self.damping * curvature, damping)
        residual = gradient - jnp.where(first, 0, image + damping * start)
        end = self._conjugate_gradients(
            lambda v: gauss_newton(v) + damping * v, gradient, start, residual
        )
        d, tried = self._backtracked(end, loss)
        change = -push(unravel(d))
        gain = gain_ratio(objective, system, batch, unravel(flat - d), change).astype(flat.dtype)
        length, shortened = first_length(lambda t: loss(t * d), system.loss, gradient @ d, **ARMIJO)
        factor = jnp.where((gain > 0.75) & ~regretted, 2 / 3, jnp.where(gain < 0.25, 3 / 2, 1))
        spent = product_cost(objective, system, batch, 2 + end.made)
        spent["n_simulate"] += len(batch) * (2 + tried + shortened)
        info = {
            "loss": system.loss,
            "grad_norm": jnp.sqrt(square),
            "damping": damping,
            # Not an integer: those are counts, which are summed over updates.
            "iterations": end.made.astype(flat.dtype),
            "gain": gain,
            "length": length,
            **spent,
        }
        limits = float(jnp.finfo(flat.dtype).tiny) ** 0.75, float(jnp.finfo(flat.dtype).max) ** 0.75
        damping = jnp.clip(damping * factor.astype(flat.dtype), *limits)
        step = -length * d
        return unravel(step), HessianFreeState(damping, end.d, step), info

    def _marks(self) -> list[int]:
        """Return the numbers of iterations after which solutions are kept, the last included."""
        powers = range(1 + math.ceil(math.log(self.iterations) / math.log(SPACING)))
        marks = {min(math.ceil(SPACING**k), self.iterations) for k in powers}
        return sorted(marks | {self.iterations})

    def _conjugate_gradients(
        self, product: Callable[[Array], Array], g: Array, start: Array, residual: Array
    ) -> Conjugate:
        """Solve B d = g from a start; the last solution takes the place of the next to be kept."""
        marks = jnp.asarray(np.array(self._marks(), np.int32))
        rounding = float(jnp.finfo(g.dtype).eps) ** 2 * (g @ g)

        def value(d: Array, residual: Array) -> Array:
            return -0.5 * d @ (g + residual)

        def unfinished(c: Conjugate) -> Array:
            window = jnp.maximum(10, c.made // 10)
            now, before = c.values[c.made], c.values[jnp.maximum(c.made - window, 0)]
            slow = (now < 0) & (now - before > window * PROGRESS * now)
            enough = (c.made > window) & slow
            return (c.made < self.iterations) & (c.square > rounding) & ~enough

        def iterate(c: Conjugate) -> Conjugate:
            image = product(c.direction)
            curvature = c.direction @ image
            alpha = c.square / jnp.where(curvature > 0, curvature, jnp.inf)
            d, residual = c.d + alpha * c.direction, c.residual - alpha * image
            square, count = residual @ residual, c.made + 1
            direction = residual + square / c.square * c.direction
            kept = c.kept.at[jnp.searchsorted(marks, count)].set(d)
            values = c.values.at[count].set(value(d, residual))
            return Conjugate(d, residual, direction, square, values, kept, count)

        kept = jnp.zeros((len(marks), g.size), g.dtype).at[0].set(start)
        values = jnp.zeros(self.iterations + 1, g.dtype).at[0].set(value(start, residual))
        square = residual @ residual
        begin = Conjugate(start, residual, residual, square, values, kept, jnp.int32(0))
        return lax.while_loop(unfinished, iterate, begin)

    def _backtracked(self, end: Conjugate, loss: Callable[[Array], Array]) -> tuple[Array, Array]:
        """Return the solution before which the loss begins to rise, and the losses evaluated."""
        marks = jnp.asarray(np.array(self._marks(), np.int32))

        def back(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            """Go from a solution with index `at` to the one before; `at` - 1 may be better."""
            at, _, before, tried = carry
            nearer = loss(end.kept[jnp.maximum(at - 2, 0)])
            return at - 1, before, nearer, tried + 1

        def falls(carry: tuple[Array, ...]) -> Array:
            at, now, before, tried = carry
            return (tried < 2) | ((at > 0) & (before < now))

        # The first two losses are evaluated in the loop, too: its body is compiled once.
        infinite = jnp.asarray(jnp.inf, end.d.dtype)
        last = jnp.searchsorted(marks, end.made)
        begin = last + 2, infinite, infinite, jnp.int32(0)
        at, _, _, tried = lax.while_loop(falls, back, begin)
        return end.kept[at], tried
