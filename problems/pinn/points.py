"""Points: where the collocation points of a set lie, and which term of the loss each belongs to.

Functions of the position of a sample in its set, so that a part of a set is known without the rest.
Unit points [n, d] lie in [0, 1)^d; a problem maps them to its domain and to the faces of it.
"""

from fractions import Fraction
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.options import OptionError

Placement = Literal["random", "lattice", "grid", "graded", "adaptive"]


def interleaved(positions: Any, shares: tuple[Fraction, ...]) -> tuple[Any, Any]:
    """Return the kind of each sample, and its rank among the samples of its kind, [n] both.

    With a share f = a / b of kind k, sample i is of this kind if floor((i + 1) f) > floor(i f):
    exactly a of any b samples in a row. A third kind is interleaved with what the second one
    leaves, and so on; the first kind is the rest. positions: NumPy or JAX integers.
    """
    kind, rank = 0 * positions, 0 * positions
    rest, left, is_free = positions, Fraction(1), positions >= 0
    for k, share in enumerate(shares[1:], 1):
        part = share / left
        before, after = (i * part.numerator // part.denominator for i in (rest, rest + 1))
        taken = is_free & (after > before)
        kind, rank = kind + k * taken, rank + before * taken
        rest, left, is_free = rest - before * is_free, left - share, is_free & ~taken
    return kind, rank + rest * is_free


def counts(size: int, shares: tuple[Fraction, ...]) -> list[int]:
    """Return how many samples of each kind a set has."""
    kind, _ = interleaved(np.arange(size), shares)
    return np.bincount(kind, minlength=len(shares)).tolist()


def lattice(ranks: Any, dimension: int, shift: Any = 0.5) -> Any:
    """Return the points frac(shift + k alpha) of the R_d sequence, [n, d], in float64 for NumPy.

    alpha = (1/phi, 1/phi^2, ...) with phi^(d + 1) = phi + 1: every prefix fills the cube evenly.
    Source: M. Roberts, The unreasonable effectiveness of quasirandom sequences, 2018.
    """
    phi = 2.0
    for _ in range(64):
        phi = (1 + phi) ** (1 / (dimension + 1))
    alpha = phi ** -np.arange(1.0, dimension + 1)
    return (shift + ranks[:, None] * alpha) % 1.0


def grid(ranks: Any, count: int, dimension: int) -> Any:
    """Return the midpoints of a grid of equal cells, [n, d], the last coordinate fastest.

    Raises OptionError if `count` is no power of a number of cells along each axis.
    """
    side = round(count ** (1 / dimension))
    if side**dimension != count:
        lower = side - (side**dimension > count)
        below, above = lower**dimension, (lower + 1) ** dimension
        reason = f"{count} points fill no grid of {dimension} equal axes; {below} or {above} would"
        raise OptionError(object, "points", "grid", reason)
    cells = [ranks // side**axis % side for axis in reversed(range(dimension))]
    stack = jnp.stack if isinstance(ranks, jax.Array) else np.stack
    return (stack(cells, axis=1) + 0.5) / side


def unit_points(
    placement: Placement, ranks: Array, count: int, dimension: int, key: Array
) -> Array:
    """Return the unit points [n, d] with some ranks in a set of `count`."""
    if placement == "grid":
        return grid(ranks, count, dimension).astype(float)
    if placement == "lattice":
        return lattice(ranks, dimension, jax.random.uniform(key, (dimension,)))
    return jax.random.uniform(key, (count, dimension))[ranks % max(count, 1)]


def on_faces(
    unit: Array, faces: tuple[tuple[int, float], ...], low: np.ndarray, high: np.ndarray
) -> Array:
    """Map unit points [n, d - 1] to faces of the box [low, high], to each with equal probability.

    A face (axis, value) is the part of the box with this coordinate. The first unit coordinate
    selects the face; what is left of it, and the others, are the place on the face.
    """
    axes, values = (np.asarray(column) for column in zip(*faces, strict=True))
    column = np.arange(len(low)) - (np.arange(len(low)) > axes[:, None])  # [faces, d]
    first = unit[:, 0] * len(faces)
    number = jnp.clip(jnp.floor(first), 0, len(faces) - 1).astype(int)
    inside = jnp.concatenate([(first - number)[:, None], unit[:, 1:]], axis=1)
    nearest = jnp.asarray(np.minimum(column, max(len(low) - 2, 0)))[number]
    place = low + (high - low) * jnp.take_along_axis(inside, nearest, axis=1)
    on_face = np.arange(len(low)) == jnp.asarray(axes)[number][:, None]
    return jnp.where(on_face, jnp.asarray(values, unit.dtype)[number][:, None], place)
