"""Stream functions: velocities without divergence in a closed box, in two dimensions."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fields import two_sided
from physopt.problems.fluid.grid import after


def curl(stream: jax.Array) -> jax.Array:
    """Return v = (d psi/dy, -d psi/dx) on lower faces: [n, m] -> [n, m, 2].

    Entry (i, j) of psi lies at the lower corner of cell (i, j). Those of the lower border are
    ignored and those of the upper border are not stored: psi is 0 on the whole border, through
    which nothing flows. The divergence with boundary="zero" vanishes up to rounding.
    """
    inside = stream.at[0].set(0).at[:, 0].set(0)
    x = after(inside, 1, "zero") - inside
    y = inside - after(inside, 0, "zero")
    return jnp.stack([x, y], axis=-1)


def stream_function(velocity: jax.Array) -> jax.Array:
    """Return the psi of a velocity without divergence in a closed box, [n, m, 2] -> [n, m]."""
    x = velocity[..., 0]
    return jnp.cumsum(x, axis=1) - x


def low_pass(stream: jax.Array, cutoff: jax.Array | float) -> jax.Array:
    """Return the coarse part of a stream function in a closed box, [n, n] -> [n, n].

    The waves sin(pi k i / n) sin(pi l j / n) with k, l <= cutoff [] remain; weights fall linearly
    to 0 at cutoff + 1. What is on the border is set to 0.
    """
    waves = np.arange(1, len(stream))
    sines = np.sqrt(2 / len(stream)) * np.sin(np.pi * np.outer(waves, waves) / len(stream))
    weights = jnp.clip(cutoff + 1 - jnp.asarray(waves, stream.dtype), 0, 1)
    spectrum = two_sided(sines, stream[1:, 1:]) * weights[:, None] * weights
    return jnp.pad(two_sided(sines, spectrum), [(1, 0), (1, 0)])
