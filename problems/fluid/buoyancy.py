"""Buoyancy: a force proportional to the density of the marker."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from physopt.problems.fluid.grid import to_faces


def buoyancy(density: jax.Array, lift: Sequence[float], boundary: str = "periodic") -> jax.Array:
    """Return the change of a staggered velocity in one step: [*grid] -> [*grid, d].

    lift [d]: acceleration at density 1, in cells per step squared, along each axis.
    """
    components = [factor * to_faces(density, a, boundary) for a, factor in enumerate(lift)]
    return jnp.stack(components, axis=-1)
