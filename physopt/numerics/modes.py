"""Modes of differentiation that a function supports, found from shapes alone."""

from collections.abc import Callable
from typing import Any

import jax


def no_forward_mode(function: Callable[[Any], Any], primal: Any) -> str | None:
    """Return why a function cannot be differentiated in forward mode, None if it can.

    primal: arrays or tracers of a floating type. A function with a custom_vjp has reverse mode
    only, a callback to the host has no mode unless it is wrapped.
    """

    def push(tangent: Any) -> Any:
        return jax.jvp(function, (primal,), (tangent,))[1]

    return failure(push, primal)


def failure(derivative: Callable[[Any], Any], tangent: Any) -> str | None:
    """Return why the program of a derivative cannot be made, None if it can.

    tangent: arrays or tracers with the shapes of the derivative's argument.
    """
    try:
        # A forward derivative of a custom_vjp raises when its program is transformed again.
        jax.eval_shape(jax.vmap(derivative), jax.tree.map(lambda leaf: leaf[None], tangent))
    except RecursionError:  # of the rules of a function with its own precision (numerics.float64)
        return "a function with its own rules of differentiation has no such derivative"
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error).partition("\n")[0]
    return None
