"""Pieces: a long computation on many samples, a few of them at a time on every core."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from physopt.machine.cores import xla_threads
from physopt.machine.devices import current_platform
from physopt.machine.mesh import spread

T = TypeVar("T")


def in_pieces(function: Callable[..., T], *trees: Any, size: int, mesh: Mesh | None = None) -> T:
    """Apply a function of samples to pieces of a batch: leaves [batch, ...] in and out.

    function: of trees with leaves [size, ...]; compiled once for all pieces, which have the largest
    divisor of the batch that is at most `size`. On a CPU each of XLA's threads computes a piece:
    XLA itself splits single operations, and those of a solver are too small for that. The result
    does not depend on the number of threads. With a mesh each piece is sharded over it.
    """
    batch = len(jax.tree.leaves(trees)[0])
    size = max(k for k in range(1, min(size, batch) + 1) if batch % k == 0)
    pieces = [
        jax.tree.map(lambda leaf, k=k: leaf[k : k + size], trees) for k in range(0, batch, size)
    ]

    def piece(*arguments: Any) -> T:
        return spread(function, mesh, *arguments)

    program = jax.jit(piece).lower(*pieces[0]).compile()
    together = xla_threads() if mesh is None and current_platform() == "cpu" else 1
    with ThreadPoolExecutor(min(together, len(pieces))) as pool:
        results = list(pool.map(lambda each: jax.block_until_ready(program(*each)), pieces))
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)
