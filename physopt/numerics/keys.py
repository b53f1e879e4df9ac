"""Keys: every random stream starts here, from one named implementation.

JAX's default implementation is a setting that a user may change; the streams of a run do not follow
it.
"""

import math
from typing import Any

import jax

IMPLEMENTATION = "threefry2x32"


def key_of(seed: int) -> jax.Array:
    """Return the key of a seed, 0 <= seed < 2^32: each has a stream of its own."""
    return jax.random.key(seed, impl=IMPLEMENTATION)


def normal(key: jax.Array, shape: tuple[int, ...], dtype: Any = float) -> jax.Array:
    """Return the values of `jax.random.normal`, drawn flat.

    XLA takes seconds on a CPU to compile the counters of a small array with several axes: 4.5 s for
    10 x 10 x 10 instead of 0.6 s for 1000.
    """
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)
