"""Water sorption isotherms of porous matrices, differentiable in the pore fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, Required, TypedDict, Unpack, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.core import Tracer

from physopt.problems.ldft.equilibrium import (
    Equilibrium,
    Settings,
    equilibrium,
    filling_jacobian,
)
from physopt.problems.ldft.lattice import WATER, Fluid, matrix_field, sweep
from physopt.problems.ldft.method import Method, choose_method
from physopt.problems.ldft.pool import Schedule
from physopt.problems.ldft.response import LinearSolver
from physopt.problems.ldft.sublattices import Sublattices

Gradient = Literal["implicit", "unrolled", "remat"]


class Convergence(NamedTuple):
    """Convergence of the fixed points of an isotherm."""

    error: Array
    """Estimated remaining mean error of the density [batch, points]."""
    sweeps: Array
    """Red-black sweeps, or plain ones if the side is odd, [batch, points]."""
    unconverged: Array
    """Number of points per matrix whose error exceeds the tolerance or is NaN [batch]."""


class IsothermOptions(TypedDict, total=False):
    """Keywords that `isotherm` and `isotherm_and_jacobian` share; see `isotherm`."""

    dimensions: Required[int]
    humidities: Sequence[float] | None
    spacing: float
    desorption: bool
    tolerance: float | None
    linear_tolerance: float | None
    maximum_sweeps: int
    fluid: Fluid
    method: Method


def isotherm(
    pores: Array,
    *,
    gradient: Gradient = "implicit",
    sweeps: int = 100,
    return_density: bool = False,
    return_convergence: bool = False,
    **options: Unpack[IsothermOptions],
) -> Any:
    """Uptake y(h) of porous matrices in contact with vapour of relative humidity h.

    The density solves the mean-field equation of the lattice fluid on a periodic lattice,

        rho_i = eta_i sigmoid(beta (mu(h) + w_ff sum_j rho_j + w_mf sum_j (1 - eta_j))),

    and y = sum_i rho_i / sum_i eta_i. Adsorption is the branch of least density, reached with
    increasing humidity; desorption starts from its density at the highest humidity. A matrix
    without pores has y = 0 and a zero gradient, and so has h = 0.

    Args:
        pores: pore fractions eta in [0, 1], [batch, n, n] or [batch, n, n, n], n >= 2; their
            dtype, float32 or float64, is that of the calculation.
        gradient: "implicit" differentiates the fixed point: memory independent of the sweeps,
            forward and reverse mode. "unrolled" is the published baseline: `sweeps` plain sweeps
            per humidity, each started from the density of the previous one, differentiated
            through. "remat" is the same but recomputes every humidity in reverse mode.
        sweeps: plain sweeps per humidity in the baseline.
        return_density: also return rho [batch, points, n, n].
        return_convergence: also return a `Convergence`; only with the implicit gradient.
        dimensions: 2 (square lattice) or 3 (cubic lattice); required.
        humidities: increasing relative humidities in (0, 1]; None, the default, takes every
            multiple of `spacing` up to 1.
        spacing: humidity spacing, 1 / points; the default 0.025 gives the source's 40 points.
        desorption: append the desorption branch: the humidities without the last, in reverse
            order, then 0. Default False.
        tolerance: bound on the estimated mean error of rho; default 1e-10 in float64 and 1e-6 in
            float32. At condensation the uptake may be off by much more in float32.
        linear_tolerance: relative residual of the derivative's linear system; default 1e-10 in
            float64 and 1e-5 in float32.
        maximum_sweeps: sweeps after which a point counts as not converged; default 20 000.
        fluid: temperatures and attraction; default water at 298 K.
        method: "loops" runs XLA's loops, "kernels" one Triton program a (matrix, humidity) pair, on
            anything but an NVIDIA GPU in Pallas' interpreter, slowly. "auto", the default, takes
            the kernels on NVIDIA GPUs for lattices that fit a program: up to 8,192 sites in float32
            and 4,096 in float64. Both do the same calculation.

    Returns:
        y [batch, points], with desorption [batch, 2 points]; with return_density or
        return_convergence a tuple (y, density, convergence) of y and what was requested.

    Raises:
        ValueError: wrong rank, unequal or short sides, an empty batch, a dtype that is not
            floating, an option out of range; values outside [0, 1] or NaN if `pores` is not traced.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """
    if gradient not in get_args(Gradient):
        raise ValueError(f"gradient is 'implicit', 'unrolled' or 'remat', not {gradient!r}")
    if gradient != "implicit" and return_convergence:
        raise ValueError("return_convergence needs gradient='implicit'")
    pores = jnp.asarray(pores)
    settings = solver_settings(pores, **options)
    if gradient != "implicit":
        uptake, density = _unrolled(settings, pores, sweeps, gradient == "remat", return_density)
        return (uptake, density) if return_density else uptake
    rows = settings.lattice.flatten(pores)
    state = equilibrium(settings, return_density, rows)
    uptake = per_pore(state.filling, rows.sum(-1, keepdims=True))
    extra: list[Any] = []
    if return_density:
        extra.append(settings.lattice.unflatten(state.density))
    if return_convergence:
        extra.append(_convergence(settings, state))
    return (uptake, *extra) if extra else uptake


def isotherm_and_jacobian(
    pores: Array, *, return_convergence: bool = False, **options: Unpack[IsothermOptions]
) -> Any:
    """Uptake and its full Jacobian dy/deta, at the cost of one gradient.

    Each y_k depends only on the density at its own humidity, so one batched linear solve gives all
    rows. Options, errors and source are those of `isotherm`. The result does not support further
    differentiation.

    Returns:
        y [batch, points] and J [batch, points, n, n] (or [batch, points, n, n, n]); with
        return_convergence a `Convergence` as well.
    """
    pores = jnp.asarray(pores)
    settings = solver_settings(pores, **options)
    rows = settings.lattice.flatten(pores)
    state = equilibrium(settings, False, rows)
    total = rows.sum(-1, keepdims=True)
    uptake = per_pore(state.filling, total)
    activity = settings.activity(rows.dtype)
    response = filling_jacobian(settings, rows, state.density, activity)
    jacobian = per_pore(response - uptake[..., None], total[..., None])
    result = uptake, settings.lattice.unflatten(jacobian)
    return (*result, _convergence(settings, state)) if return_convergence else result


def per_pore(x: Array, total: Array) -> Array:
    """Divide by the sum of the pore fractions; a matrix without pores gets a constant 0."""
    empty = total == 0  # False for NaN, which must propagate to the isotherm
    return jnp.where(empty, 0, x / jnp.where(empty, 1, total))


def _convergence(settings: Settings, state: Equilibrium) -> Convergence:
    failed = ~(state.error <= settings.schedule.tolerance)
    return Convergence(state.error, state.sweeps, failed.sum(-1))


def solver_settings(
    pores: Array,
    *,
    dimensions: int,
    humidities: Sequence[float] | None = None,
    spacing: float = 0.025,
    desorption: bool = False,
    tolerance: float | None = None,
    linear_tolerance: float | None = None,
    maximum_sweeps: int = 20_000,
    fluid: Fluid = WATER,
    method: Method = "auto",
) -> Settings:
    """Check the options of `isotherm` and set defaults by precision, block sizes by backend."""
    pores = _checked_pores(pores, dimensions)
    points = _checked_humidities(humidities, spacing)
    double = pores.dtype == jnp.float64
    if tolerance is None:
        tolerance = 1e-10 if double else 1e-6
    if linear_tolerance is None:
        linear_tolerance = 1e-10 if double else 1e-5
    if not (tolerance > 0 and linear_tolerance > 0 and maximum_sweeps > 0):
        raise ValueError("tolerance, linear_tolerance and maximum_sweeps must be positive")
    lattice = Sublattices(pores.shape[-1], pores.ndim - 1)
    ways = choose_method(lattice, pores.dtype, method)
    return Settings(
        lattice=replace(lattice, whole=ways.kernel is not None),
        fluid=fluid,
        humidities=points,
        desorption=desorption,
        schedule=Schedule(float(tolerance), int(maximum_sweeps), ways.widths, ways.runs),
        solver=LinearSolver(float(linear_tolerance)),
        response_sites=ways.response_sites,
        kernel=ways.kernel,
    )


def _checked_pores(pores: Array, dimensions: int) -> Array:
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions is 2 or 3, not {dimensions!r}")
    expected = "[batch, n, n]" if dimensions == 2 else "[batch, n, n, n]"
    if pores.ndim != dimensions + 1 or len(set(pores.shape[1:])) != 1:
        raise ValueError(f"pores must have shape {expected}, got {pores.shape}")
    if pores.shape[0] == 0 or pores.shape[1] < 2:
        raise ValueError(f"pores must hold a matrix with sides of 2 or more, got {pores.shape}")
    if pores.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"pores must be float32 or float64, got {pores.dtype}")
    if not isinstance(pores, Tracer):
        values = np.asarray(pores)
        if not np.all((values >= 0) & (values <= 1)):
            raise ValueError("pores must lie in [0, 1]; some values do not, or are NaN")
    return pores


def _checked_humidities(humidities: Sequence[float] | None, spacing: float) -> tuple[float, ...]:
    if humidities is None:
        count = round(1 / spacing) if 0 < spacing <= 1 else 0
        if count < 1 or abs(count * spacing - 1) > 1e-6:
            raise ValueError(f"spacing must divide 1, got {spacing}")
        return tuple((k + 1) / count for k in range(count))
    points = tuple(float(h) for h in humidities)
    rising = all(a < b for a, b in pairwise(points))
    if not points or not rising or not (points[0] > 0 and points[-1] <= 1):
        raise ValueError("humidities must increase strictly within (0, 1]")
    return points


def _unrolled(
    settings: Settings, pores: Array, sweeps: int, recompute: bool, return_density: bool
) -> tuple[Array, Array | None]:
    """The published baseline: plain sweeps, each humidity from the density of the previous one."""
    if sweeps < 1:
        raise ValueError(f"sweeps must be 1 or more, got {sweeps}")
    dimensions, fluid = settings.lattice.dimensions, settings.fluid
    axes = tuple(range(1, pores.ndim))
    solid = matrix_field(pores, dimensions, fluid)
    total = pores.sum(axes)

    def point(density: Array, activity: Array) -> tuple[Array, tuple[Array, Array | None]]:
        def one_sweep(density: Array, _: None) -> tuple[Array, None]:
            return sweep(density, pores, solid + activity, dimensions, fluid), None

        density, _ = lax.scan(one_sweep, density, None, length=sweeps)
        return density, (per_pore(density.sum(axes), total), density if return_density else None)

    step = jax.checkpoint(point) if recompute else point
    start = jnp.zeros_like(pores)
    _, (uptake, density) = lax.scan(step, start, settings.activity(pores.dtype))
    return uptake.T, None if density is None else jnp.moveaxis(density, 0, 1)
