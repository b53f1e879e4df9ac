"""Pieces: a long computation on many samples, a few of them at a time."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from physopt.machine.mesh import spread

T = TypeVar("T")


def in_pieces(function: Callable[..., T], *trees: Any, size: int, mesh: Mesh | None = None) -> T:
    """Apply a function of samples to pieces of a batch: leaves [batch, ...] in and out.

    function: of trees with leaves [size, ...]; compiled once for all pieces, which have the largest
    divisor of the batch that is at most `size`. With a mesh each piece is sharded over it.
    """
    batch = len(jax.tree.leaves(trees)[0])
    size = max(k for k in range(1, min(size, batch) + 1) if batch % k == 0)
    pieces = [
        jax.tree.map(lambda leaf, k=k: leaf[k : k + size], trees) for k in range(0, batch, size)
    ]

    def piece(*arguments: Any) -> T:
        return spread(function, mesh, *arguments)

    program = jax.jit(piece).lower(*pieces[0]).compile()
    # One after the other: with two long programs at a time, from two threads of Python, a run
    # stalled without using the CPU, probably in XLA's pool of threads.
    results = [jax.block_until_ready(program(*each)) for each in pieces]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)
