"""Trials: evaluations at which a solver may fail, such as those of a line search.

A physics reports a failed solve as NaN, or raises through `equinox.error_if`, as diffrax, lineax
and optimistix do ("the maximum number of solver steps was reached"). A compiled program cannot
catch an exception, so inside `failing_as_nan` equinox returns NaN instead.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

_TRIAL = jax.make_user_context(False)
"""Part of JAX's cache keys: a function traced outside a trial is traced again inside one."""


@contextmanager
def failing_as_nan() -> Iterator[None]:
    """Trace a physics so that a failed solve by a library on equinox gives NaN, not an exception.

    Equinox fails a whole batch at once; a physics that returns NaN itself fails single samples. An
    exception of a host callback still ends the program.
    """
    errors: Any = sys.modules.get("equinox._errors")
    if not hasattr(errors, "EQX_ON_ERROR"):
        yield
        return
    before = errors.EQX_ON_ERROR
    errors.EQX_ON_ERROR = "nan"
    try:
        with _TRIAL(True):
            yield
    finally:
        errors.EQX_ON_ERROR = before


def lost_if_nan(losses: jax.Array) -> jax.Array:
    """Return losses with infinity in place of NaN: a failed trial is worse than any other."""
    return jnp.where(jnp.isnan(losses), jnp.inf, losses)
