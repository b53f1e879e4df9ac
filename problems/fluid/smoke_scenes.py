"""Scenes of smoke in a closed box: patches in a natural flow, and shapes to turn into others."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.keys import normal
from physopt.problems.fluid.closed_flow import without_divergence

PATCHES = (4, 8, 16)
"""Cells of the grid per entry of the random fields that make up the density."""

OCTAVES = 4
"""Random fields that make up a velocity, with 2, 4, ... cells of the grid per entry."""

MARGIN = 10 / 128
"""Share of the side along each wall that smoke leaves free."""

SMALLEST, LARGEST = 20 / 128, 40 / 128
"""Bounds of the width of a shape, as a share of the side."""


def random_patches(key: jax.Array, n: int) -> jax.Array:
    """Draw smoke in patches: [n, n], between 0 and 1.

    The density is 0.66 times the sum of linearly interpolated uniform noise of the scales PATCHES,
    less 1, clipped to [0, 1], and 0 along the walls.

    Source: arXiv 2001.07457, appendix D.2.
    """
    total = sum(
        _raised(jax.random.uniform(key, (-(-n // cells),) * 2), n)
        for key, cells in zip(jax.random.split(key, len(PATCHES)), PATCHES, strict=True)
    )
    place = np.arange(n) + 0.5
    inside = (place > MARGIN * n) & (place < (1 - MARGIN) * n)
    return jnp.clip(0.66 * total - 1, 0, 1) * (inside[:, None] & inside)


def random_velocity(key: jax.Array, n: int, speed: float) -> jax.Array:
    """Draw a velocity without divergence in a closed box, [n, n, 2].

    It is the sum of OCTAVES of linearly interpolated normal noise, whose weight falls by 0.9 from
    each to the next finer one, times speed U(0, 2), and projected.

    Source: arXiv 2001.07457, appendix D.2, with open sides.
    """
    of_scale, *of_octaves = jax.random.split(key, OCTAVES + 1)
    scale = speed * jax.random.uniform(of_scale, maxval=2.0)
    octaves = []
    for i, key in enumerate(of_octaves):
        m = -(-n // 2 ** (i + 1))
        noise = normal(key, (2, m, m))
        strength = 0.9 ** (OCTAVES - 1 - i)
        octaves.append(strength * jnp.stack([_raised(field, n) for field in noise], axis=-1))
    return without_divergence(scale * sum(octaves) / OCTAVES**0.5)


def _raised(field: jax.Array, n: int) -> jax.Array:
    return jax.image.resize(field, (n, n), "linear")


def _triangle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (b > -0.8) & (b < 1 - 1.8 * abs(a))


def _star(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.hypot(a, b) < 0.7 + 0.3 * np.cos(5 * np.arctan2(a, b))


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda a, b: np.hypot(a, b) < 1,
    "square": lambda a, b: np.maximum(abs(a), abs(b)) < 0.85,
    "triangle": _triangle,
    "cross": lambda a, b: np.minimum(abs(a), abs(b)) < 0.35,
    "ring": lambda a, b: abs(np.hypot(a, b) - 0.75) < 0.25,
    "L": lambda a, b: (a < -0.3) | (b < -0.3),
    "T": lambda a, b: (b > 0.3) | (abs(a) < 0.35),
    "bar": lambda a, b: abs(b) < 0.4,
    "diamond": lambda a, b: abs(a) + abs(b) < 1,
    "star": _star,
}
"""Shapes in the square -1 < a, b < 1; the second axis points up."""

PIXELS = 64


def random_shape(key: jax.Array, n: int) -> jax.Array:
    """Draw smoke of density 1 in a basic shape of random size at a random place: [n, n].

    At least one cell along each wall is free. Cells on the outline have densities in between.
    """
    of_shape, of_size, of_place = jax.random.split(key, 3)
    axis = (np.arange(PIXELS) + 0.5) / (PIXELS / 2) - 1
    a, b = np.meshgrid(axis, axis, indexing="ij")
    images = jnp.asarray(np.stack([shape(a, b) for shape in SHAPES.values()]), float)
    image = images[jax.random.randint(of_shape, (), 0, len(SHAPES))]
    width = n * jax.random.uniform(of_size, minval=SMALLEST, maxval=LARGEST)
    lower = 1 + jax.random.uniform(of_place, (2,)) * (n - 2 - width)
    raised = jax.image.scale_and_translate(
        image, (n, n), (0, 1), jnp.full(2, width / PIXELS), lower, "linear", antialias=True
    )
    return jnp.clip(raised, 0, 1)
