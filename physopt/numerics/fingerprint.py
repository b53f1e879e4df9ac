"""Fingerprints of arrays, and whether a function depends on an argument.

With both a rule recognises that two updates have the same loss, and keeps what it has computed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import Array


def fingerprint(tree: Any) -> Array:
    """Return a hash of the bits of all arrays of a pytree, [] uint32.

    The weighted sum of its 32-bit words modulo 2^32. All weights are odd, so that a change of one
    word always changes it; other changes pass unnoticed with a probability of about 2^-32.
    """
    words = [jnp.zeros(0, jnp.uint32), *(_words(leaf) for leaf in jax.tree.leaves(tree))]
    joined = jnp.concatenate(words)
    weights = jnp.arange(joined.size, dtype=jnp.uint32) * jnp.uint32(2654435769 - 1) | 1
    return jnp.sum(joined * weights, dtype=jnp.uint32)


def _words(leaf: Any) -> Array:
    """Return the bits of an array as 32-bit words."""
    array = jnp.asarray(leaf)
    if array.dtype.itemsize < 4:
        wide = jnp.float32 if jnp.issubdtype(array.dtype, jnp.floating) else jnp.int32
        array = array.astype(wide)
    return jax.lax.bitcast_convert_type(array, jnp.uint32).ravel()


def depends(function: Callable[[Any], Any], argument: Any) -> bool:
    """Return whether a function's result can depend on an argument, from its jaxpr.

    True also where the argument enters a loop, a branch or another call whose result is used.
    """
    jaxpr = jax.make_jaxpr(function)(argument).jaxpr
    reached = set(jaxpr.invars)
    for eqn in jaxpr.eqns:
        if any(isinstance(atom, jex.Var) and atom in reached for atom in eqn.invars):
            reached.update(eqn.outvars)
    return any(isinstance(atom, jex.Var) and atom in reached for atom in jaxpr.outvars)
