"""Random subsets of the activations that reverse mode keeps, with unbiased derivatives.

Backpropagation through y = f(z) needs the local derivatives of f, which take as much memory as z.
If only some of them are kept, each divided by the expected number of its draws, the mean of what is
restored are all of them, and a derivative that is linear in them stays unbiased. Draws are
stratified: one in each of `count` equal parts, so that no more is left to chance than has to be.

Source: D. Oktay et al., Randomized automatic differentiation, arXiv 2007.10412 (ICLR 2021).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def count_of(size: int, fraction: float) -> int:
    """Return how many of `size` activations are kept, at least one."""
    return max(1, round(fraction * size))


def kept(values: Array, key: Array, fraction: float) -> Array:
    """Return a random subset of values of any shape, [count]: each with the same probability."""
    count = count_of(values.size, fraction)
    return values.ravel()[_uniform(key, count, values.size)]


def restored(part: Array, key: Array, shape: tuple[int, ...]) -> Array:
    """Return an array of `shape` with the mean of the values of which `part` was kept.

    key: the one with which they were kept, from which the places are computed again.
    """
    whole = jnp.zeros(shape, part.dtype).ravel()
    scaled = part * (whole.size / part.size)
    return whole.at[_uniform(key, part.size, whole.size)].add(scaled).reshape(shape)


def draw(key: Array, count: int, weights: Array) -> tuple[Array, Array]:
    """Draw indices below n with probabilities proportional to weights [n].

    Returns indices [count] and factors [count], one over the expected number of draws of each: the
    factors at one index add up to 1 in the mean. Indices of weight zero are not drawn.
    """
    ends = jnp.cumsum(weights)
    places = (jnp.arange(count) + jax.random.uniform(key, (count,), weights.dtype)) / count
    index = jnp.searchsorted(ends, places * ends[-1], side="right")
    index = jnp.minimum(index, weights.size - 1).astype(jnp.int32)
    weight = weights[index]
    return index, jnp.where(weight > 0, ends[-1] / (count * jnp.where(weight > 0, weight, 1)), 0)


@partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def elementwise(function: Callable[[Array], Array], z: Array, key: Array, fraction: float) -> Array:
    """Return function(z), of each element alone, with a random part of its derivative kept."""
    return function(z)


def _forward(
    function: Callable[[Array], Array], z: Array, key: Array, fraction: float
) -> tuple[Array, Any]:
    y, slope = jax.jvp(function, (z,), (jnp.ones_like(z),))
    return y, (kept(slope, key, fraction), key)


def _backward(
    function: Callable[[Array], Array], fraction: float, residuals: Any, cotangent: Array
) -> tuple[Array, None]:
    part, key = residuals
    return restored(part, key, cotangent.shape) * cotangent, None


elementwise.defvjp(_forward, _backward)


def _uniform(key: Array, count: int, size: int) -> Array:
    places = (jnp.arange(count) + jax.random.uniform(key, (count,))) * (size / count)
    return jnp.minimum(places.astype(jnp.int32), size - 1)
