"""Linear response of the equilibrium density to the pore fractions: the implicit derivative.

With s = sigmoid(v), D = eta s (1 - s), b = beta w_ff, y = w_mf / w_ff and A the neighbour sum, the
fixed point rho = eta s(v(rho, eta)) gives

    d rho = s d eta + D b A (d rho - y d eta) = s d eta + D^1/2 z,
    (I - b D^1/2 A D^1/2) z = b D^1/2 A (s - y) d eta,

symmetric and positive definite at a stable fixed point. Splitting off s d eta keeps the system
regular at solid sites, where D = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax

from physopt.problems.ldft.sublattices import Lattice, Parts

Subset = dict[int, Array]
"""Arrays of some of the parts, by their index."""

Solve = Callable[[Parts, Parts], Parts]
"""The roots D^1/2 and the right side r -> z."""


@dataclass(frozen=True)
class LinearSolver:
    """Conjugate gradients: relative residual at which a lane stops, and bound on iterations."""

    tolerance: float
    maximum_iterations: int = 500


def density_tangent(
    lattice: Lattice,
    coupling: float,
    interaction_ratio: float,
    solve: Solve,
    density: Parts,
    pores: Parts,
    field: Parts,
) -> Callable[[Parts], Parts]:
    """The linear map d eta -> d rho at fixed points `density`; parts [..., lanes].

    `solve` returns the z of (I - b D^1/2 A D^1/2) z = r from D^1/2 and r: `solve_by_colour`, or a
    kernel.
    """
    indices = range(len(density))
    filling = tuple(
        jax.nn.sigmoid(field[i] + coupling * lattice.neighbour_sum(density, i)) for i in indices
    )
    root = tuple(jnp.sqrt(eta * s * (1 - s)) for eta, s in zip(pores, filling, strict=True))

    def operator(z: Parts) -> Parts:
        coupled = _couple(lattice, coupling, root, dict(enumerate(z)), list(indices))
        return tuple(z[index] - coupled[index] for index in indices)

    def tangent(change: Parts) -> Parts:
        source = tuple((s - interaction_ratio) * x for s, x in zip(filling, change, strict=True))
        right_side = tuple(coupling * root[i] * lattice.neighbour_sum(source, i) for i in indices)
        z = lax.custom_linear_solve(
            operator, right_side, lambda _, right: solve(root, right), symmetric=True
        )
        return tuple(filling[i] * change[i] + root[i] * z[i] for i in indices)

    return tangent


def _couple(
    lattice: Lattice, coupling: float, root: Parts, vector: Mapping[int, Array], targets: list[int]
) -> Subset:
    """The parts `targets` of b D^1/2 A D^1/2 times a vector of which other parts are zero."""
    scaled = {index: root[index] * x for index, x in vector.items()}
    return {i: coupling * root[i] * lattice.neighbour_sum(scaled, i) for i in targets}


def solve_by_colour(
    lattice: Lattice, coupling: float, solver: LinearSolver, root: Parts, right_side: Parts
) -> Parts:
    """Solve (I - C) z = r, C = b D^1/2 A D^1/2 coupling the two colours only to each other.

    Eliminating the second colour leaves (I - C_12 C_21) z_1 = r_1 + C_12 r_2: half the unknowns
    and about half the iterations. A lattice without colours is solved whole.
    """

    def couple(vector: Mapping[int, Array], targets: list[int]) -> Subset:
        return _couple(lattice, coupling, root, vector, targets)

    conjugate_gradients = partial(_conjugate_gradients, lattice, solver)
    right = dict(enumerate(right_side))
    if len(lattice.colours) == 1:
        solution = conjugate_gradients(lambda z: _subtract(z, couple(z, list(z))), right)
        return tuple(solution[index] for index in range(len(right_side)))
    first, second = lattice.colours
    rest = {index: right[index] for index in second}
    coupled = couple(rest, first)
    reduced = {index: right[index] + coupled[index] for index in first}
    solution = conjugate_gradients(
        lambda z: _subtract(z, couple(couple(z, second), first)), reduced
    )
    coupled = couple(solution, second)
    solution |= {index: rest[index] + coupled[index] for index in second}
    return tuple(solution[index] for index in range(len(right_side)))


def _subtract(a: Subset, b: Subset) -> Subset:
    return {index: a[index] - b[index] for index in a}


_State = tuple[Subset, Subset, Subset, Array, Array, Array]


def _conjugate_gradients(
    lattice: Lattice,
    solver: LinearSolver,
    operator: Callable[[Subset], Subset],
    right_side: Subset,
) -> Subset:
    """Conjugate gradients for all lanes, each with its own stopping test.

    A lane also stops if the operator is not positive along the search direction: at a density that
    is not a stable fixed point, for example an unconverged one, the system may be indefinite.
    """

    def dot(a: Subset, b: Subset) -> Array:
        return lattice.lane_sum(a[index] * b[index] for index in a)

    squared_norm = dot(right_side, right_side)
    limit = solver.tolerance**2 * squared_norm
    smallest = float(jnp.finfo(squared_norm.dtype).eps) ** 0.5

    def step(state: _State) -> _State:
        x, residual, direction, norm, active, iteration = state
        image = operator(direction)
        curvature = dot(direction, image)
        active &= curvature > smallest * dot(direction, direction)
        length = jnp.where(active, norm / jnp.where(active, curvature, 1), 0)
        x = {i: x[i] + length * direction[i] for i in x}
        residual = {i: residual[i] - length * image[i] for i in x}
        new_norm = jnp.where(active, dot(residual, residual), norm)
        factor = jnp.where(active, new_norm / jnp.where(active, norm, 1), 0)
        direction = {i: residual[i] + factor * direction[i] for i in x}
        return x, residual, direction, new_norm, active & (new_norm > limit), iteration + 1

    def running(state: _State) -> Array:
        return lattice.any_lane(state[4]) & (state[5] < solver.maximum_iterations)

    start = jax.tree.map(jnp.zeros_like, right_side)
    initial = (start, right_side, right_side, squared_norm, squared_norm > limit, jnp.int32(0))
    return lax.while_loop(running, step, initial)[0]
