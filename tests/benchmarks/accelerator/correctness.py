"""Isotherms and their derivatives against reference data and against float64 on the CPU."""

import functools
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from bench_ldft import near_binary

from accelerator.rows import ERROR, Case, Row
from physopt.problems.ldft import isotherm, isotherm_and_jacobian

SECTION = "correctness"
REFERENCE = Path(__file__).resolve().parents[2] / "data" / "ldft_reference.npz"


class Limits(NamedTuple):
    """Largest errors that pass."""

    typical: float  # 99 % quantile of the uptakes' differences
    largest: float | None  # of any uptake; None: near condensation float32 has no useful bound
    derivative: float  # median over matrices of the relative error of gradient and Jacobian


LIMITS = {"float32": Limits(1e-4, None, 1e-3), "float64": Limits(1e-8, 1e-6, 1e-5)}


def errors(differences: np.ndarray, limits: Limits, name: str) -> list[Row]:
    """Return the rows of the differences between two sets of uptakes."""
    size = np.abs(differences)
    typical, largest = float(np.quantile(size, 0.99)), float(size.max())
    return [
        Row(f"{name}: uptake, 99 % of points", SECTION, ERROR, typical, limits.typical),
        Row(f"{name}: uptake, largest difference", SECTION, ERROR, largest, limits.largest),
    ]


def relative(values: Any, expected: Any) -> np.ndarray:
    """Return |values - expected| / |expected| of each member of a batch."""
    flat = [np.asarray(a, np.float64).reshape(len(a), -1) for a in (values, expected)]
    norm = np.linalg.norm(flat[1], axis=1)
    return np.linalg.norm(flat[0] - flat[1], axis=1) / np.where(norm > 0, norm, 1)


def against_reference(dimensions: int, dtype: str, name: str) -> list[Row]:
    """Compare both branches with the isotherms of an independent NumPy program."""
    with np.load(REFERENCE) as data, jax.enable_x64(dtype == "float64"):
        pores, expected = data[f"pores_{dimensions}d"], data[f"isotherm_{dimensions}d"]
        solve = partial(isotherm, dimensions=dimensions, desorption=True, return_convergence=True)
        uptake, convergence = jax.jit(solve)(jnp.asarray(pores, dtype))
        failed = int(convergence.unconverged.sum())
    differences = np.asarray(uptake, np.float64) - expected[:, 1:]
    unconverged = Row(f"{name}: points not converged", SECTION, ERROR, float(failed), 0.0)
    return [*errors(differences, LIMITS[dtype], name), unconverged]


@functools.cache
def reference(dimensions: int, side: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Return uptakes and Jacobians of both branches in float64, computed on the CPU."""
    solve = partial(isotherm_and_jacobian, dimensions=dimensions, desorption=True)
    pores = np.asarray(near_binary(batch, side, dimensions), np.float64)
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        uptake, jacobian = jax.jit(solve)(jnp.asarray(pores))
        return np.asarray(uptake), np.asarray(jacobian)


def against_cpu(dimensions: int, side: int, batch: int, dtype: str, name: str) -> list[Row]:
    """Compare both branches, a gradient and the Jacobian with float64 on the CPU."""
    pores = near_binary(batch, side, dimensions)
    options: Any = {"dimensions": dimensions, "desorption": True}
    weights = np.random.default_rng(1).normal(size=(batch, 80))
    exact_uptake, exact_jacobian = reference(dimensions, side, batch)

    def loss(pores: jax.Array) -> tuple[jax.Array, Any]:
        uptake, convergence = isotherm(pores, return_convergence=True, **options)
        return (jnp.asarray(weights, pores.dtype) * uptake).sum(), (uptake, convergence.unconverged)

    with jax.enable_x64(dtype == "float64"):
        pores = jnp.asarray(np.asarray(pores), dtype)
        (_, (uptake, failed)), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(pores)
        _, jacobian = jax.jit(partial(isotherm_and_jacobian, **options))(pores)
        uptake, failed, gradient, jacobian = map(np.asarray, (uptake, failed, gradient, jacobian))
    exact_gradient = np.einsum("bk,bk...->b...", weights, exact_jacobian)
    limit = LIMITS[dtype].derivative
    derivatives = [
        Row(f"{name}: {label}, median error", SECTION, ERROR, float(np.median(error)), limit)
        for label, error in (
            ("gradient", relative(gradient, exact_gradient)),
            ("Jacobian", relative(jacobian, exact_jacobian)),
        )
    ]
    unconverged = Row(f"{name}: points not converged", SECTION, ERROR, float(failed.sum()), 0.0)
    return [*errors(uptake - exact_uptake, LIMITS[dtype], name), *derivatives, unconverged]


LATTICES = ((2, 20, 64), (3, 10, 16), (2, 15, 16), (3, 7, 8), (2, 64, 4))
"""(dimensions, side, batch): the usual ones, odd sides, one of several blocks"""


def reference_cases() -> list[Case]:
    """Return the comparisons with reference data."""
    return [
        Case(name, SECTION, partial(against_reference, dimensions, dtype, name))
        for dimensions in (2, 3)
        for dtype in ("float32", "float64")
        for name in [f"{dimensions}D {dtype} against reference data"]
    ]


def cases(small: bool) -> list[Case]:
    """Return the comparisons with the CPU; the small version has two lattices and float32 only."""
    dtypes = ("float32",) if small else ("float32", "float64")
    lattices = [(d, n, 8) for d, n, _ in LATTICES[:2]] if small else LATTICES
    return [
        Case(name, SECTION, partial(against_cpu, *lattice, dtype, name))
        for lattice in lattices
        for dtype in dtypes
        for name in ["{}D N = {}, batch {}, {} against CPU float64".format(*lattice, dtype)]
    ]
