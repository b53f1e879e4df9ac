"""Diffusion on a grid by an explicit step."""

import jax

from physopt.problems.fluid.grid import laplacian


def diffuse(field: jax.Array, number: jax.Array | float, boundary: str = "periodic") -> jax.Array:
    """Return field + number laplacian(field), one explicit Euler step: [*grid] -> [*grid].

    number = viscosity * time step / spacing^2; stable up to 1 / (2 d).
    """
    return field + number * laplacian(field, boundary)
