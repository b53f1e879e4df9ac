"""Domain and scenes of smoke that is steered into one of three buckets from the borders.

The box has the side 128 of the source, solid walls on the left, right and bottom, and an open top.
Obstacles shield the middle, through gaps of which fluid is pushed. Axis 0 is x, axis 1 is y.

Source: arXiv 2001.07457, appendix D.3, and its published program.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fluid.walls import Walls, walls

SIDE = 128

OBSTACLES = (
    *((0, 60, 20, 4), (108, 14, 4, 92), (30, 4, 68, 4), (18, 14, 4, 38), (18, 72, 4, 34)),
    *((19, 105, 2, 10), (49, 105, 2, 10), (79, 105, 2, 10), (109, 105, 2, 10)),
)
"""Lower corner x, y, and widths along x and y; the last four are the walls of the buckets."""

BUCKETS = ((21, 49), (51, 79), (81, 109))
"""Bounds of the buckets along x."""

RIM = 105
"""Height of the lower end of the buckets."""

WIDTH = 11
"""Side of the square of smoke."""

TARGETS = (30, 60, 94)
"""Lower x of the target squares, whose lower y is RIM."""

STARTS = ((34, 82), (18, 59))
"""Bounds of the lower corner of the initial square, along x and y."""

BORDERS = (20, 108, 5)
"""Controlled are faces with x below the first or above the second number, or y below the third."""


@cache
def domain(n: int) -> Walls:
    """Return the geometry on n x n cells; an obstacle covers at least one cell."""
    solid, is_open = np.zeros((2, n, n), bool)
    for x, y, width, height in OBSTACLES:
        solid[_cells(x, width, n), _cells(y, height, n)] = True
    is_open[:, -1] = True
    return walls(solid, is_open)


def _cells(lower: float, width: float, n: int) -> slice:
    first = int(lower * n / SIDE)
    return slice(first, max(first + 1, round((lower + width) * n / SIDE)))


@cache
def controlled(n: int) -> np.ndarray:
    """Return 1 on the faces whose velocities are controlled, 0 elsewhere, [n, n, 2]."""
    faces = np.arange(n) * SIDE / n
    centres = faces + SIDE / (2 * n)
    left, right, bottom = BORDERS
    masks = []
    for x, y in ((faces, centres), (centres, faces)):
        masks.append(((x < left) | (x > right))[:, None] | (y < bottom))
    return np.stack(masks, axis=-1) * domain(n).free


@cache
def bucket_cells(n: int) -> np.ndarray:
    """Return 1 in the cells of each bucket, [3, n, n]; a bucket has no upper end."""
    place = (np.arange(n) + 0.5) * SIDE / n
    inside = [((place > low) & (place < high))[:, None] & (place > RIM) for low, high in BUCKETS]
    return np.stack(inside) * domain(n).fluid


def square(corner: jax.Array, n: int) -> jax.Array:
    """Return smoke of density 1 in a square with a lower corner [2], [n, n].

    The density of a cell is the share of it that the square covers.
    """
    lower, cells = corner * n / SIDE, np.arange(n)
    covered = [
        jnp.clip(jnp.minimum(cells + 1, low + WIDTH * n / SIDE) - jnp.maximum(cells, low), 0, 1)
        for low in lower
    ]
    return covered[0][:, None] * covered[1]


def random_scene(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Draw initial and target density [n, n], and the number of the target's bucket []."""
    of_start, of_bucket = jax.random.split(key)
    lower, upper = jnp.asarray(STARTS, float).T
    start = square(jax.random.uniform(of_start, (2,), minval=lower, maxval=upper), n)
    bucket = jax.random.randint(of_bucket, (), 0, len(BUCKETS))
    x = jnp.asarray(TARGETS, float)[bucket]
    return start, square(jnp.stack([x, jnp.full_like(x, RIM)]), n), bucket
