"""Findings: the results of checks, and comparisons that checks share."""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.options import Options


class Finding(NamedTuple):
    """A property that is required, whether it holds, and details."""

    claim: str
    passed: bool
    detail: str


class Failed(Exception):
    """A required property does not hold; the message is the reason."""


Checks = Iterator[tuple[str, Callable[[], str]]]
"""Claims with the functions that test them, which return details or raise Failed."""


def options_are_values(options: Options) -> str:
    """Test that options can be hashed and stored as JSON."""
    try:
        hash(options)
    except TypeError as error:
        raise Failed(f"cannot be hashed, which jit needs: {error}; use tuples, not lists") from None
    stored = json.loads(json.dumps(options.as_dict()))
    if type(options)(**stored) != options:
        raise Failed("options read back from JSON differ")
    return ""


def must_match(expected: Any, actual: Any, tolerance: float, reason: str) -> None:
    """Raise Failed unless two trees agree, relative to the largest entry of each leaf."""
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            continue
        if np.shape(a) != np.shape(b):
            raise Failed(f"{reason} (shapes {np.shape(a)} and {np.shape(b)})")
        is_complex = any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in (a, b))
        dtype = np.complex128 if is_complex else np.float64
        a, b = np.asarray(a, dtype), np.asarray(b, dtype)
        scale = max(1e-12, float(np.max(np.abs(a), initial=0)))
        difference = float(np.max(np.abs(a - b), initial=0)) / scale
        if not difference <= tolerance:
            raise Failed(f"{reason} (relative difference {difference:.1e})")
