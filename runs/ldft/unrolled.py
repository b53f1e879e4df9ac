"""Error of the unrolled simulator: isotherms and gradients against the converged ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matrices import (
    area_percent,
    compiled_isotherm,
    in_precision_of,
    lattice_of,
)

from physopt.problems.ldft.isotherm import isotherm
from physopt.problems.ldft.lattice import WATER, Fluid

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def accuracy(
    matrices: np.ndarray,
    sweeps: Sequence[int] = (10, 30, 100, 300, 1000),
    *,
    spacing: float = 0.025,
    desorption: bool = False,
    fluid: Fluid = WATER,
) -> pd.DataFrame:
    """Compare isotherms of M plain sweeps per humidity with converged ones.

    With y_M the unrolled and y the converged isotherm, the area difference of a matrix is
    100 mean_h |y_M - y| per cent, and its largest difference is max_h |y_M - y|.

    Args:
        matrices: pore fractions [matrices, n, n] or [matrices, n, n, n].
        sweeps: the numbers M of sweeps.
        spacing: humidity spacing.
        desorption: compare both branches.
        fluid: temperatures and attraction.

    Returns:
        A row per M: dimensions, size, matrices (their number), sweeps, mean_area_percent,
        quantile95_area_percent, and the shares in [0, 1] of matrices whose area difference exceeds
        1 % (share_area_off) and whose largest difference exceeds 0.01 (share_uptake_off).

    Raises:
        ValueError: matrices or options that `isotherm` rejects.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023), which trains with M = 100.
    """
    lattice = lattice_of(matrices)
    options: dict[str, Any] = {
        "dimensions": lattice["dimensions"],
        "spacing": spacing,
        "desorption": desorption,
        "fluid": fluid,
    }
    rows = []
    with in_precision_of(matrices):
        pores = jnp.asarray(matrices)
        converged = np.asarray(compiled_isotherm(pores, **options))
        for count in sweeps:
            unrolled = {"gradient": "unrolled", "sweeps": count, **options}
            y = np.asarray(compiled_isotherm(pores, **unrolled))
            area = area_percent(y, converged)
            rows.append(
                {
                    **lattice,
                    "matrices": len(matrices),
                    "sweeps": count,
                    "mean_area_percent": area.mean(),
                    "quantile95_area_percent": np.quantile(area, 0.95),
                    "share_area_off": np.mean(area > 1),
                    "share_uptake_off": np.mean(np.abs(y - converged).max(-1) > 0.01),
                }
            )
    return pd.DataFrame(rows)


def gradient_error(
    matrices: np.ndarray,
    wanted: np.ndarray,
    sweeps: Sequence[int] = (10, 30, 100, 300, 1000),
    *,
    fluid: Fluid = WATER,
) -> pd.DataFrame:
    """Compare loss gradients through M unrolled sweeps per humidity with the implicit ones.

    The loss is L = 1/2 sum_h (y - y*)^2. With g_M and g the gradients dL/deta of the unrolled and
    of the converged isotherm, the relative error of a matrix is |g_M - g| / |g| and the cosine
    g_M . g / (|g_M| |g|), both in the Euclidean norm over sites. Binary matrices are allowed;
    matrices without pores have a zero gradient and are excluded.

    Args:
        matrices: pore fractions [matrices, n, n] or [matrices, n, n, n].
        wanted: target isotherms y* [matrices, points] at h = 1/points ... 1.
        sweeps: the numbers M of sweeps.
        fluid: temperatures and attraction.

    Returns:
        A row per M: dimensions, size, matrices (the number compared), sweeps; error_05, error_25,
        error_50, error_75 and error_95, quantiles over matrices of the relative error; the same
        of the cosine; share_cosine_below_09, the share in [0, 1] of cosines below 0.9.

    Raises:
        ValueError: matrices that `isotherm` rejects, a different number of targets, or no matrix
            with a gradient.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023), for the unrolled gradient.
    """
    lattice = lattice_of(matrices)
    if np.shape(wanted)[:1] != (len(matrices),) or np.ndim(wanted) != 2:
        raise ValueError(f"wanted is [{len(matrices)}, points], not {np.shape(wanted)}")
    options = {"dimensions": lattice["dimensions"], "fluid": fluid}
    with in_precision_of(matrices):
        exact = _gradients(matrices, wanted, options)
        length = np.linalg.norm(exact, axis=1)
        defined = length > 0
        if not defined.any():
            raise ValueError("no matrix has a gradient to compare with")
        lattice["matrices"] = int(defined.sum())
        rows = []
        for count in sweeps:
            # remat gives the unrolled gradient in a thirtieth of the memory.
            unrolled = {"gradient": "remat", "sweeps": count, **options}
            other = _gradients(matrices, wanted, unrolled)
            difference = np.linalg.norm(other - exact, axis=1)
            product = length * np.linalg.norm(other, axis=1)
            cosine = (other * exact).sum(1)[defined] / np.maximum(product, 1e-300)[defined]
            errors = difference[defined] / length[defined]
            rows.append({**lattice, "sweeps": count, **_summary(errors, cosine)})
    return pd.DataFrame(rows)


def _gradients(matrices: np.ndarray, wanted: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    """dL/deta of every matrix: [matrices, sites]."""
    target = jnp.asarray(wanted, matrices.dtype)
    gradients = _loss_gradient(jnp.asarray(matrices), target, **options)
    return np.asarray(gradients, np.float64).reshape(len(matrices), -1)


@partial(jax.jit, static_argnames=("dimensions", "gradient", "sweeps", "fluid"))
def _loss_gradient(matrices: jax.Array, target: jax.Array, **options: Any) -> jax.Array:
    def loss(pores: jax.Array) -> jax.Array:
        y = isotherm(pores, spacing=1 / target.shape[1], **options)
        return 0.5 * jnp.sum((y - target) ** 2)

    return jax.grad(loss)(matrices)


def _summary(errors: np.ndarray, cosines: np.ndarray) -> dict[str, Any]:
    columns = {"error": errors, "cosine": cosines}
    quantiles = {
        f"{name}_{round(100 * q):02d}": np.quantile(values, q)
        for name, values in columns.items()
        for q in QUANTILES
    }
    return {**quantiles, "share_cosine_below_09": np.mean(cosines < 0.9)}
