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

    try:
        # A forward derivative of a custom_vjp raises when its program is transformed again.
        jax.eval_shape(jax.vmap(push), jax.tree.map(lambda leaf: leaf[None], primal))
    except (TypeError, ValueError, NotImplementedError) as error:
        return str(error).partition("\n")[0]
    return None
