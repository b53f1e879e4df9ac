"""Coarse copies of a design: its blocks and layers at several porosities."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

BLOCK_SIDES = (2, 3, 5)
"""Sides of the blocks over which a copy is averaged."""

POROSITIES = (0.3, 0.45, 0.6, 0.7, 0.8, 0.9)
"""Porosities of the copies."""

SLOPE = 4.0
"""Root mean square of a copy: most sites are nearly pores or solid, the others may change first."""


def coarse_copies(x: jax.Array) -> jax.Array:
    """Return copies of pre-activations x with pores that are wide: [copies, batch, *lattice].

    Each copy is the average of x over the blocks of a side of BLOCK_SIDES, or over the layers
    normal to an axis, minus its quantile at a porosity of POROSITIES. Networks design fine
    textures; wide pores fill at once, and small changes of a fine texture do not lead to them.
    """
    centred = x - jnp.mean(x, axis=tuple(range(1, x.ndim)), keepdims=True)
    copies = []
    for operators, porosity in product(_averages(x.shape[1], x.ndim - 1), POROSITIES):
        coarse = centred
        for axis, operator in enumerate(operators, start=1):
            averaged = jnp.tensordot(coarse, operator.astype(x.dtype), axes=(axis, 1))
            coarse = jnp.moveaxis(averaged, -1, axis)
        # The sites of a block differ a little, so that every porosity is reached.
        rows = (_unit(coarse) + 1e-3 * _unit(centred)).reshape(len(x), -1)
        threshold = jnp.quantile(rows, 1 - porosity, axis=1, keepdims=True)
        copies.append(SLOPE * (rows - threshold).reshape(x.shape))
    return jnp.stack(copies)


def _averages(side: int, dimensions: int) -> list[list[np.ndarray]]:
    """Return for each kind of copy the averaging operators [side, side] of the axes."""
    blocks = [[_block_average(side, width)] * dimensions for width in BLOCK_SIDES]
    whole, none = _block_average(side, side), np.eye(side)
    axes = range(dimensions)
    return blocks + [[none if axis == normal else whole for axis in axes] for normal in axes]


def _block_average(side: int, width: int) -> np.ndarray:
    block = np.arange(side) // width
    same = block[:, None] == block
    return same / same.sum(axis=1, keepdims=True)


def _unit(field: jax.Array) -> jax.Array:
    """Return the field divided by its root mean square, 0 where that is 0."""
    size = jnp.sqrt(jnp.mean(field**2, axis=tuple(range(1, field.ndim)), keepdims=True))
    return field / jnp.where(size > 0, size, 1)
