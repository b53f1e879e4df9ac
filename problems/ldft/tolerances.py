"""Errors at which the solvers of a density and of its derivative stop."""

from typing import Any, NamedTuple

import jax.numpy as jnp


class Tolerances(NamedTuple):
    """Errors of the density, and of the linear system of its derivative."""

    density: float
    linear: float


def in_training(dtype: Any, density: float | None) -> Tolerances:
    """Return the tolerances of training in a type, with that of the density where one is given.

    The derivative may be less accurate than the state: a relative error of 1e-3 in the gradient
    changes no training curve.
    """
    if dtype == jnp.float64:
        return Tolerances(density or 1e-10, 1e-10)
    return Tolerances(density or 3e-5, 1e-3)
