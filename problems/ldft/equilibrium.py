"""Equilibrium of the lattice fluid as a differentiable function of the pore fractions.

The forward pass is the fixed-point solver; the derivative is the linear response at the fixed
point, so its memory does not grow with the number of sweeps. It is defined as a forward-mode rule
around a symmetric linear solve, from which JAX derives reverse mode: one batched solve in either
mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend import core as jex

from physopt.problems.ldft import kernels, pool
from physopt.problems.ldft.lattice import Fluid, log_activity, matrix_field
from physopt.problems.ldft.response import LinearSolver, Solve, density_tangent, solve_by_colour
from physopt.problems.ldft.sublattices import Parts, Sublattices

T = TypeVar("T")


@dataclass(frozen=True)
class Settings:
    """All parameters of a calculation except the pores (static, hashable)."""

    lattice: Sublattices
    fluid: Fluid
    humidities: tuple[float, ...]
    desorption: bool
    schedule: pool.Schedule
    solver: LinearSolver
    response_sites: int
    """Sites, over all lanes, for which the linear response is solved in one batch."""
    kernel: kernels.Kernel | None = None
    """Kernel of the GPU; None runs XLA's loops."""

    @property
    def coupling(self) -> float:
        """Dimensionless attraction w_ff / kT."""
        return self.fluid.coupling(self.lattice.dimensions)

    def activity(self, dtype: np.dtype) -> Array:
        """Dimensionless chemical potential [points], both branches."""
        increasing = self.humidities
        decreasing = (*reversed(increasing[:-1]), 0.0) if self.desorption else ()
        return log_activity(jnp.asarray([*increasing, *decreasing], dtype), self.fluid)

    def field(self, pores: Array, shift: Array | None = None) -> Array:
        """Dimensionless attraction by the solid, in storage order [..., sites].

        shift [..., 1] is added: the chemical potential of each matrix over that of the humidity.
        """
        lattice = self.lattice
        field = matrix_field(lattice.unflatten(pores), lattice.dimensions, self.fluid)
        field = lattice.flatten(field)
        return field if shift is None else field + shift


class Equilibrium(NamedTuple):
    """Fixed points of every matrix at every point of the isotherm."""

    filling: Array
    """Sum of the density over the lattice [batch, points]."""
    density: Array
    """Density in storage order [batch, points, sites]."""
    error: Array
    """Estimated remaining mean error of the density [batch, points]."""
    sweeps: Array
    """Sweeps spent [batch, points], int32."""


def branch(
    settings: Settings,
    pores: Array,
    activity: Array,
    start: Array | None,
    direction: int,
    shift: Array | None = None,
) -> Equilibrium:
    """Fixed points at each activity [points], reached from `start` [batch, points or 1, sites].

    The density rises from its start (direction 1; None starts from 0) or falls (-1).
    """
    if start is None:
        start = jnp.zeros((1, 1, pores.shape[1]), pores.dtype)
    solve = partial(kernels.fixed_points, settings.kernel) if settings.kernel else pool.solve
    lanes = solve(
        pores,
        settings.field(pores, shift),
        activity,
        start,
        direction=direction,
        lattice=settings.lattice,
        coupling=settings.coupling,
        schedule=settings.schedule,
    )
    density, error, sweeps = (x.reshape(len(pores), -1, *x.shape[1:]) for x in lanes)
    return Equilibrium(density.sum(-1), density, error, sweeps)


def _solve(settings: Settings, pores: Array, shift: Array | None = None) -> Equilibrium:
    """Adsorption from rho = 0, desorption from the density at the highest humidity."""
    increasing = len(settings.humidities)
    activity = settings.activity(pores.dtype)
    adsorption = branch(settings, pores, activity[:increasing], None, 1, shift)
    if not settings.desorption:
        return adsorption
    saturated = adsorption.density[:, -1:]
    desorption = branch(settings, pores, activity[increasing:], saturated, -1, shift)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), adsorption, desorption)


def _solve_merged(settings: Settings, pores: Array, shift: Array | None = None) -> Equilibrium:
    """Like `_solve`, but a vmapped axis is merged into the batch, so that no matrix waits.

    Constant arrays become arguments: JAX batches all operands of a `cond` with a batched predicate,
    including constants, and a custom rule must not close over batched values.
    """
    operands = (pores,) if shift is None else (pores, shift)
    traced, shapes = jax.make_jaxpr(partial(_solve, settings), return_shape=True)(*operands)
    structure = jax.tree.structure(shapes)

    @jax.custom_batching.custom_vmap
    def solve(constants: list[Array], *operands: Array) -> Equilibrium:
        closed = jex.ClosedJaxpr(traced.jaxpr, constants)
        return jax.tree.unflatten(structure, jex.jaxpr_as_fun(closed)(*operands))

    @solve.def_vmap
    def _(
        axis_size: int, in_batched: list[Any], constants: list[Array], *operands: Array
    ) -> tuple[Equilibrium, Equilibrium]:
        if not any(in_batched[1:]):
            result = _solve_merged(settings, *operands)
            return result, jax.tree.map(lambda _: False, result)

        def merge(x: Array, batched: bool) -> Array:
            x = x if batched else jnp.broadcast_to(x, (axis_size, *x.shape))
            return x.reshape(-1, x.shape[-1])

        merged = _solve_merged(settings, *map(merge, operands, in_batched[1:]))
        result = jax.tree.map(lambda x: x.reshape(axis_size, -1, *x.shape[1:]), merged)
        return result, jax.tree.map(lambda _: True, result)

    return solve(list(traced.consts), *operands)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def equilibrium(
    settings: Settings, with_density: bool, pores: Array, shift: Array | None = None
) -> Equilibrium:
    """Fixed points for pores in storage order [batch, sites], differentiable in the pores alone.

    `with_density` gives the density a derivative as well as its sum. `shift` [batch, 1] is added to
    beta mu at every humidity; it is a constant of the derivative.
    """
    return _solve_merged(settings, pores, shift)


@equilibrium.defjvp
def _equilibrium_jvp(
    settings: Settings,
    with_density: bool,
    primals: tuple[Array, Array | None],
    tangents: tuple[Array, Array | None],
) -> tuple[Equilibrium, Equilibrium]:
    (pores, shift), (change, _) = primals, tangents
    state = _solve_merged(settings, pores, shift)

    def respond(tangent: Callable[[Parts], Parts], lanes: int) -> tuple[Array, Array]:
        per_lane = jnp.repeat(change, lanes // change.shape[0], axis=0)
        moved = tangent(settings.lattice.parts(per_lane))
        rows = settings.lattice.rows(moved) if with_density else jnp.zeros((lanes, 0), pores.dtype)
        return settings.lattice.lane_sum(moved), rows

    activity = settings.activity(pores.dtype)
    filling, rows = map_response(settings, pores, state.density, activity, respond, shift)
    return state, Equilibrium(
        filling,
        rows if with_density else jnp.zeros_like(state.density),
        jnp.zeros_like(state.error),
        np.zeros(state.sweeps.shape, jax.dtypes.float0),  # type: ignore[arg-type]
    )


def map_response(
    settings: Settings,
    pores: Array,
    density: Array,
    activity: Array,
    function: Callable[[Callable[[Parts], Parts], int], T],
    shift: Array | None = None,
) -> T:
    """Apply a function to the linear response, block by block of humidities.

    The function receives the map d eta -> d rho, both [..., lanes], and the number of lanes in
    matrix-major order; its result [lanes, ...] is returned as [batch, points, ...]. A block
    contains as many humidities of all matrices as `response_sites` allows. Its intermediate values
    are recomputed in reverse mode, so that only the density is stored.
    """
    lattice, fluid = settings.lattice, settings.fluid
    batch, points, sites = density.shape
    width = max(1, min(points, settings.response_sites // (batch * sites)))
    count = -(-points // width)
    field = settings.field(pores, shift)

    @jax.checkpoint
    def block(start: Array) -> T:
        rows = lax.dynamic_slice_in_dim(density, start, width, 1).reshape(batch * width, sites)
        shift = lax.dynamic_slice_in_dim(activity, start, width)
        tangent = density_tangent(
            lattice,
            settings.coupling,
            fluid.interaction_ratio,
            _response_solver(settings),
            lattice.parts(rows),
            lattice.parts(jnp.repeat(pores, width, axis=0)),
            lattice.parts((field[:, None] + shift[:, None]).reshape(batch * width, sites)),
        )
        return function(tangent, batch * width)

    # The last block overlaps the previous one if the width does not divide the points.
    starts = np.minimum(np.arange(count) * width, points - width)
    blocks = lax.map(block, jnp.asarray(starts))
    owner = np.minimum(np.arange(points) // width, count - 1)
    offset = np.arange(points) - starts[owner]

    def assemble(x: Array) -> Array:
        x = x.reshape(count, batch, width, *x.shape[2:])
        return jnp.moveaxis(x, 1, 0)[:, owner, offset]

    return jax.tree.map(assemble, blocks)


def _response_solver(settings: Settings) -> Solve:
    """Return the solver of the linear response for blocks of lanes."""
    lattice, coupling, solver = settings.lattice, settings.coupling, settings.solver
    if settings.kernel is None:
        return partial(solve_by_colour, lattice, coupling, solver)
    run = partial(
        kernels.linear_response, settings.kernel, lattice=lattice, coupling=coupling, solver=solver
    )
    return lambda root, right: lattice.parts(run(lattice.rows(root), lattice.rows(right)))


def filling_jacobian(
    settings: Settings,
    pores: Array,
    density: Array,
    activity: Array,
    shift: Array | None = None,
) -> Array:
    """Derivative of the filling with respect to the pore fractions, [batch, points, sites]."""

    def respond(tangent: Callable[[Parts], Parts], lanes: int) -> Array:
        example = settings.lattice.parts(jnp.zeros((lanes, pores.shape[1]), pores.dtype))
        transpose = jax.linear_transpose(
            lambda change: settings.lattice.lane_sum(tangent(change)), example
        )
        (rows,) = transpose(jnp.ones(lanes, pores.dtype))
        return settings.lattice.rows(rows)

    return map_response(settings, pores, density, activity, respond, shift)
