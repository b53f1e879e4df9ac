"""Pore sizes of matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matrices import lattice_of
from scipy import ndimage


def pore_size_map(matrices: np.ndarray) -> np.ndarray:
    """Return the pore size at every site, 0 at solid sites: integers of the shape of `matrices`.

    The size of a pore site is the side, in sites, of the largest square (3D: cube) of pore sites
    that covers it on the periodic lattice, at most the lattice itself. Opening by a square of
    side s keeps the sites of size s and larger.

    Args:
        matrices: binary matrices [matrices, n, n] or [matrices, n, n, n]; 1 pore, 0 solid.

    Raises:
        ValueError: a different shape, or values other than 0 and 1.
    """
    lattice = lattice_of(matrices)
    pores = np.asarray(matrices) > 0.5
    if not np.array_equal(pores, matrices):
        raise ValueError("pore sizes are defined for binary matrices: 1 pore, 0 solid")
    sizes = np.zeros(pores.shape, int)
    for side in range(1, lattice["size"] + 1):
        opened = _opening(pores, side)
        if not opened.any():
            break
        sizes[opened] = side
    return sizes


def pore_sizes(matrices: np.ndarray) -> pd.DataFrame:
    """Return the pore-size distribution of each matrix, with its porosity.

    Args:
        matrices: as for `pore_size_map`, which defines the size.

    Returns:
        A row per matrix and pore size 1 ... n: dimensions, size (of the lattice), matrix, porosity,
        pore_size in sites, share: the share in [0, 1] of the matrix's pore sites that have that
        size. The shares of a matrix add up to 1; without pores they are 0.

    Raises:
        ValueError: as `pore_size_map`.
    """
    lattice = lattice_of(matrices)
    sides = np.arange(1, lattice["size"] + 1)
    sizes = pore_size_map(matrices).reshape(len(matrices), -1)
    counts = (sizes[:, :, None] == sides).sum(1)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return pd.DataFrame(
        {
            **lattice,
            "matrix": np.repeat(np.arange(len(sizes)), len(sides)),
            "porosity": np.repeat((sizes > 0).mean(1), len(sides)),
            "pore_size": np.tile(sides, len(sizes)),
            "share": shares.ravel(),
        }
    )


def _opening(pores: np.ndarray, side: int) -> np.ndarray:
    """Keep the pore sites covered by a square of this side, with periodic boundaries."""
    axes = pores.ndim - 1
    # A square that covers a site extends at most side - 1 sites beyond it.
    padded = np.pad(pores, [(0, 0)] + [(side - 1, side - 1)] * axes, mode="wrap")
    opened = ndimage.binary_opening(padded, np.ones((1, *(side,) * axes), bool))
    inner = slice(side - 1, side - 1 + pores.shape[1])
    return opened[(slice(None), *(inner,) * axes)]
