"""Keys: every random stream starts here, from one named implementation.

JAX's default implementation is a setting that a user may change; the streams of a run do not follow
it.
"""

import jax

IMPLEMENTATION = "threefry2x32"


def key_of(seed: int) -> jax.Array:
    """Return the key of a seed, 0 <= seed < 2^32: each has a stream of its own."""
    return jax.random.key(seed, impl=IMPLEMENTATION)
