"""NNCG: Newton steps by conjugate gradients with a low-rank preconditioner, to finish a run."""

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.flatten_util import ravel_pytree

from physopt.numerics.keys import normal
from physopt.objective import Objective
from physopt.optimizers.backtracking import first_length
from physopt.optimizers.second_derivatives import hessian_product
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.rule import Info, Parameters, State, UpdateRule, cost

ARMIJO = {"share": 0.1, "factor": 0.5, "trials": 40}
"""Line search: share of the linear decrease to be reached, factor between lengths, their number."""

FAILURES = 5
"""Updates in a row without a step after which a run has converged."""


class NNCGState(NamedTuple):
    """State between updates."""

    age: Array  # int32, updates made
    vectors: Array  # U [P, rank]
    values: Array  # [rank], ascending
    direction: Array  # [P], of the last update
    failures: Array  # int32, updates since the last step


class Conjugate(NamedTuple):
    """State of preconditioned conjugate gradients on (H + mu I) d = g."""

    d: Array  # [P]
    residual: Array  # [P]
    search: Array  # [P], direction of search
    product: Array  # residual . M^-1 residual
    made: Array  # int32, iterations
    convex: Array  # bool: no negative curvature so far


@dataclasses.dataclass(frozen=True)
class NNCG(UpdateRule):
    """Nystrom-Newton-CG: theta <- theta - t d with (H + mu I) d = dL/dtheta, H the true Hessian.

    H enters by products only. The system is solved by conjugate gradients with the preconditioner

        M^-1 = (l_min + mu) U (Lambda + mu I)^-1 U^T + I - U U^T,

    where U Lambda U^T is the Nystrom approximation of H from its products with `rank` random
    vectors, renewed every `interval` updates, and l_min its smallest eigenvalue. They begin at the
    last direction and end at a negative curvature. t is the first of 1, 1/2, 1/4, ... with
    L(theta - t d) <= L(theta) - 0.1 t d . dL/dtheta, and 0 if there is none; after five updates
    without a step the run has converged.

    A finisher: on a fixed set of samples (train_size equal to batch_size), in float64, from the
    end of another run (start=FOLDER), where the loss is nearly quadratic. Negative curvature is
    left to the preconditioned gradient. No JAX library has it.
    info holds iterations, length (t) and largest, the largest eigenvalue of the approximation.
    Source: P. Rathore et al., arXiv 2402.01868; the preconditioner: Z. Frangella, J. Tropp,
    M. Udell, arXiv 2110.02820.
    """

    damping: PositiveFloat = 1e-6
    """mu, relative to the largest eigenvalue of the approximation."""

    rank: PositiveInt = 60
    """Number of random vectors."""

    interval: PositiveInt = 20
    """Updates between two approximations."""

    iterations: PositiveInt = 1000
    """Largest number of iterations of conjugate gradients per update."""

    tolerance: PositiveFloat = 1e-8
    """Residual of the system, relative to the gradient, at which they stop."""

    tunable: ClassVar = {"damping": (1e-9, 1e-2)}

    def refuses(self, objective: Objective) -> str | None:
        """Refuse batch normalisation."""
        return objective.without_jacobians()

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str:
        """Return how products with H are computed; raises PlanError if they cannot be."""
        return hessian_product(objective, params, batch)[1]

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return no approximation and no direction."""
        flat = ravel_pytree(params)[0]
        rank = min(self.rank, flat.size)
        vectors, values = jnp.zeros((flat.size, rank), flat.dtype), jnp.zeros(rank, flat.dtype)
        return NNCGState(jnp.int32(0), vectors, values, jnp.zeros_like(flat), jnp.int32(0))

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return a damped Newton step."""
        # Accelerators round the operands of float32 products to 7 or 10 bits by default.
        with jax.default_matmul_precision("highest"):
            return self._update(objective, params, state, batch, key)

    def _update(
        self, objective: Objective, params: Parameters, state: NNCGState, batch: Batch, key: Array
    ) -> tuple[Parameters, State, Info]:
        flat, unravel = ravel_pytree(params)
        value, slope = jax.value_and_grad(objective.value)(params, batch)
        gradient = ravel_pytree(slope)[0]
        hessian, _ = hessian_product(objective, params, batch)

        def product(v: Array) -> Array:
            return ravel_pytree(hessian(unravel(v)))[0]

        due = state.age % self.interval == 0
        rank = state.values.size
        vectors, values = lax.cond(
            due,
            lambda: nystrom(product, normal(key, (flat.size, rank), flat.dtype)),
            lambda: (state.vectors, state.values),
        )
        mu = self.damping * values[-1]
        mu = jnp.where(mu > 0, mu, 1)

        def precondition(v: Array) -> Array:
            inside = vectors.T @ v
            return v + vectors @ ((values[0] + mu) / (values + mu) * inside - inside)

        end = self._solve(lambda v: product(v) + mu * v, precondition, gradient, state.direction)
        descends = gradient @ end.d > 0
        direction = jnp.where(descends, end.d, precondition(gradient))
        length, trials = first_length(
            lambda t: objective.trial(unravel(flat - t * direction), batch),
            value, gradient @ direction, **ARMIJO,
        )  # fmt: skip
        failures = jnp.where(length > 0, 0, state.failures + 1)
        sweeps = 1 + 2 * (end.made + 1 + jnp.where(due, rank, 0))
        info = {
            "loss": value,
            "grad_norm": jnp.linalg.norm(gradient),
            # Not an integer: those are counts, which are summed over updates.
            "iterations": end.made.astype(flat.dtype),
            "length": length,
            "largest": values[-1],
            **cost(simulate=len(batch) * (sweeps + trials), vjp=len(batch) * sweeps),
        }
        state = NNCGState(state.age + 1, vectors, values, direction, failures)
        return unravel(-length * direction), state, info

    def _solve(
        self,
        product: Callable[[Array], Array],
        precondition: Callable[[Array], Array],
        g: Array,
        start: Array,
    ) -> Conjugate:
        """Solve (H + mu I) d = g from a start, up to the first negative curvature."""
        smallest = self.tolerance * jnp.linalg.norm(g)

        def unfinished(c: Conjugate) -> Array:
            small = jnp.linalg.norm(c.residual) <= smallest
            return c.convex & ~small & (c.made < self.iterations)

        def iterate(c: Conjugate) -> Conjugate:
            image = product(c.search)
            curvature = c.search @ image
            convex = curvature > 0
            alpha = jnp.where(convex, c.product / jnp.where(convex, curvature, 1), 0)
            residual = c.residual - alpha * image
            preconditioned = precondition(residual)
            after = residual @ preconditioned
            search = preconditioned + after / c.product * c.search
            return Conjugate(c.d + alpha * c.search, residual, search, after, c.made + 1, convex)

        residual = g - product(start)
        search = precondition(residual)
        begin = Conjugate(
            start, residual, search, residual @ search, jnp.int32(0), jnp.asarray(True)
        )
        return lax.while_loop(unfinished, iterate, begin)

    def converged(self, state: State) -> Array:
        """Return whether several updates in a row found no step that lowers the loss."""
        return state.failures >= FAILURES


def nystrom(product: Callable[[Array], Array], sketch: Array) -> tuple[Array, Array]:
    """Return vectors U [P, rank] and values [rank], ascending, with H ~ U diag(values) U^T.

    H ~ Y (Q^T Y)^-1 Y^T for Y = H Q and Q an orthonormal basis of the sketch [P, rank], without
    negative eigenvalues; H is shifted by rounding, which keeps the inverse stable.
    """
    basis, _ = jnp.linalg.qr(sketch)
    eps = float(jnp.finfo(sketch.dtype).eps)
    images = lax.map(product, basis.T).T
    shift = len(basis) ** 0.5 * eps * jnp.linalg.norm(images)
    images = images + shift * basis
    core = basis.T @ images
    weights, rotation = jnp.linalg.eigh((core + core.T) / 2)
    positive = weights > len(weights) * eps * weights[-1]
    roots = jnp.where(positive, jnp.where(positive, weights, 1) ** -0.5, 0)
    orthonormal, small = jnp.linalg.qr(images @ (rotation * roots))
    values, mixing = jnp.linalg.eigh(small @ small.T)
    return orthonormal @ mixing, jnp.maximum(values - shift, 0)
