"""Change of the isotherm of a 2D design when it is built in 3D."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pandas as pd
from matrices import (
    area_percent,
    compiled_isotherm,
    in_precision_of,
    lattice_of,
)

from physopt.problems.ldft.lattice import WATER, Fluid


def translation(
    matrices: np.ndarray, *, spacing: float = 0.025, fluid: Fluid = WATER
) -> pd.DataFrame:
    """Compare 2D matrices with their 3D extrusions, repeated n times along a third axis.

    Every section of the repeated matrix is the design, but each site has two more neighbours of
    its own kind, and all attractions are reduced to 2/3, since w_ff = 2 k T_c / d. The translation
    loss of a matrix is 100 mean_h |y_3D - y_2D| per cent.

    Args:
        matrices: pore fractions [matrices, n, n].
        spacing: humidity spacing.
        fluid: temperatures and attraction.

    Returns:
        A row per matrix and humidity: size, matrix, porosity, area_percent (the translation loss,
        the same at all humidities of a matrix), humidity, uptake_2d, uptake_3d.

    Raises:
        ValueError: matrices that are not two-dimensional, or that `isotherm` refuses.

    Source: H. Liu et al., npj Computational Materials 9, 121 (2023).
    """
    lattice = lattice_of(matrices)
    if lattice["dimensions"] != 2:
        raise ValueError(f"matrices are [matrices, n, n], not {matrices.shape}")
    options: dict[str, Any] = {"spacing": spacing, "fluid": fluid}
    with in_precision_of(matrices):
        flat = np.asarray(compiled_isotherm(jnp.asarray(matrices), dimensions=2, **options))
        repeated = np.repeat(matrices[..., None], lattice["size"], axis=-1)
        deep = np.asarray(compiled_isotherm(jnp.asarray(repeated), dimensions=3, **options))
    count, points = flat.shape
    return pd.DataFrame(
        {
            "size": lattice["size"],
            "matrix": np.repeat(np.arange(count), points),
            "porosity": np.repeat(matrices.mean((1, 2)), points),
            "area_percent": np.repeat(area_percent(deep, flat), points),
            "humidity": np.tile(np.arange(1, points + 1) / points, count),
            "uptake_2d": flat.ravel(),
            "uptake_3d": deep.ravel(),
        }
    )
