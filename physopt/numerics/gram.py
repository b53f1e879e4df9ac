"""The Gram matrix J J^T of a batch's outputs in all parameters, layer by layer, without J.

For a dense layer z = a W the rows of J that belong to W are outer products of the layer's input a
and the derivative D = dy/dz, so with samples i, j

    J_W J_W^T = (a_i . a_j) (D_i D_j^T),

which takes n^2 out operations and n out numbers instead of n^2 in out and n in out. For a layer
that acts on T positions, J_W = sum_t a_t (x) D_t. A bias added to z has J_b = D: it is one more
input, of value 1. `physopt.numerics.dense_layers` finds these layers in any differentiable
function; all other leaves contribute explicit rows of J. Both are exact.

If A = dy/dx at x = network(c) is known, pass the samples (c, A) and
`outputs = lambda params, sample: sample.A @ network(params, sample.c)`: its J is the same, and
the physics is not differentiated.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.flatten_util import ravel_pytree
from jax.typing import DTypeLike

from physopt.numerics.dense_layers import (
    DenseLayer,
    DenseLayers,
    DenseProduct,
    Outputs,
    evaluate_shifted,
    find_dense_layers,
)
from physopt.numerics.float64 import evaluated_in
from physopt.numerics.linalg import HIGHEST

# Entries of a block of explicit rows that is multiplied at a time.
_BLOCK = 2**25


def _over_samples(function: Callable[[Any], Any], samples: Any, block: int | None) -> Any:
    """Map over all samples at once, or over blocks of samples in sequence."""
    if block is None:
        return jax.vmap(function)(samples)
    return lax.map(function, samples, batch_size=block)


class LayerFactors(NamedTuple):
    """The factors of the rows of J that belong to a dense layer."""

    inputs: Array  # [batch, T, in], with a bias [batch, T, in + 1], the last 1 where it is added
    slopes: Array  # dy/dz [batch, |y|, T, out]


def layer_factors(
    dense: DenseLayers, params: Any, samples: Any, block: int | None
) -> tuple[list[LayerFactors], list[Array]]:
    """Return the factors of the dense layers, and the other leaves' rows [batch, |y|, ...].

    dense: the layers of a function of (params, one of the samples). block: samples
    differentiated at a time; None for all.
    """
    leaves: list[Array] = jax.tree.leaves(params)
    if not dense.layers and not dense.explicit:
        batch, y = jax.tree.leaves(samples)[0].shape[0], dense.jaxpr.out_avals[0]
        return [], [jnp.zeros((batch, y.size, 0), y.dtype)]

    def differentiate(sample: Any) -> Any:
        def shifted(shifts: list[Array], some: list[Array]) -> tuple[Array, list[Array]]:
            mixed = dict(enumerate(leaves)) | dict(zip(dense.explicit, some, strict=True))
            return evaluate_shifted(dense, list(mixed.values()), sample, shifts)

        zeros = [jnp.zeros(product.shape, product.dtype) for product in dense.products]
        some = [leaves[i] for i in dense.explicit]
        return jax.jacrev(shifted, argnums=(0, 1), has_aux=True)(zeros, some)

    (slopes, rows), inputs = _over_samples(differentiate, samples, block)
    factors, layers = zip(inputs, slopes, strict=True), []
    for layer in dense.layers:
        parts = [_product_factors(layer, p, *next(factors)) for p in layer.products]
        inputs, slopes = zip(*parts, strict=True)
        layers.append(LayerFactors(jnp.concatenate(inputs, 1), jnp.concatenate(slopes, 2)))
    return layers, rows


def _product_factors(
    layer: DenseLayer, product: DenseProduct, operand: Array, slopes: Array
) -> LayerFactors:
    """Bring a [batch, ...] and D [batch, |y|, ...] into the axis order of `LayerFactors`."""
    b, m, t = *slopes.shape[:2], product.positions
    axes = [axis + 1 for axis in product.contracted]
    inputs = jnp.moveaxis(operand, axes, range(operand.ndim - len(axes), operand.ndim))
    inputs = inputs.reshape(b, t, math.prod(operand.shape[axis] for axis in axes))
    if layer.bias is not None:
        added = jnp.full((b, t, 1), product.path in layer.biased, inputs.dtype)
        inputs = jnp.concatenate([inputs, added], axis=2)
    # The product's axes are those of its left operand, then those of its right one.
    if product.side == 1:
        return LayerFactors(inputs, slopes.reshape(b, m, t, layer.width))
    return LayerFactors(inputs, slopes.reshape(b, m, layer.width, t).swapaxes(2, 3))


def _column_blocks(size: int, height: int) -> Iterator[slice]:
    """Split columns into blocks of `height` rows with at most _BLOCK entries."""
    width = max(1, _BLOCK // max(1, height))
    return (slice(start, start + width) for start in range(0, size, width))


def _rows_gram(rows: Array) -> Array:
    """Return J_p J_p^T [n, n] of explicit rows [batch, |y|, ...]."""
    n = rows.shape[0] * rows.shape[1]
    flat = rows.reshape(n, math.prod(rows.shape[2:]))
    total = jnp.zeros((n, n), rows.dtype)
    for columns in _column_blocks(flat.shape[1], n):
        total += jnp.matmul(flat[:, columns], flat[:, columns].T, precision=HIGHEST)
    return total


def _layer_gram(layer: LayerFactors) -> Array:
    """Return J_W J_W^T (+ J_b J_b^T) [n, n] of a dense layer."""
    a, d = layer
    b, m, t, out = d.shape
    size = a.shape[-1]

    def pair(s: Array | int, u: Array | int) -> Array:
        inner = jnp.matmul(a[:, s], a[:, u].T, precision=HIGHEST)
        left, right = (d[:, :, v].reshape(b * m, out) for v in (s, u))
        slopes = jnp.matmul(left, right.T, precision=HIGHEST).reshape(b, m, b, m)
        return (slopes * inner[:, None, :, None]).reshape(b * m, b * m)

    if t == 1:
        return pair(0, 0)
    total = jnp.zeros((b * m, b * m), d.dtype)
    if t * t < size:  # all pairs of positions are cheaper than the rows of J_W
        return lax.fori_loop(0, t * t, lambda k, total: total + pair(k // t, k % t), total)
    for columns in _column_blocks(out, b * m * size):
        total += _rows_gram(jnp.einsum("bmto,bti->bmoi", d[..., columns], a, precision=HIGHEST))
    return total


def _gram(layers: list[LayerFactors], rows: list[Array]) -> Array:
    first, *others = [*(_layer_gram(layer) for layer in layers), *(_rows_gram(r) for r in rows)]
    return sum(others, first)


_evaluate_gram = evaluated_in(_gram)


def layerwise_gram(
    outputs: Outputs,
    params: Any,
    samples: Any,
    dtype: DTypeLike | None = None,
    block: int | None = None,
) -> Array:
    """Return G = J J^T [n, n] with J = dy/dparams of all samples, without J for dense layers.

    n = batch |y|; the rows of a sample are adjacent, in the order of
    `jax.flatten_util.ravel_pytree`.

    outputs: y of one sample, outputs(params, sample); any function with a reverse mode.
    params: a pytree of real floating arrays. samples: a pytree with leading axis [batch].
    dtype: of the Gram matrix, float64 by default (see `physopt.numerics.linalg`); the factors keep
        the dtype of the computation.
    block: samples differentiated at a time; None for all.
    Raises ValueError for parameters that are not real floating and samples without arrays.

    `physopt.numerics.linalg.gram_power` takes the float64 result as it is. While 64-bit types are
    off, ordinary operations on it would round it to float32.
    """
    dtype = np.dtype(np.float64 if dtype is None else dtype)
    dense = find_dense_layers(outputs, params, samples)
    layers, rows = layer_factors(dense, params, samples, block)
    return _evaluate_gram(dtype, dtype, layers, rows)


def _jacobian_leaves(outputs: Outputs, params: Any, samples: Any, block: int | None) -> list[Array]:
    """Return J by parameter leaves, [batch, |y|, ...] each."""

    def rows(sample: Any) -> Any:
        return jax.jacrev(lambda p: ravel_pytree(outputs(p, sample))[0])(params)

    return jax.tree.leaves(_over_samples(rows, samples, block))


def jacobian(outputs: Outputs, params: Any, samples: Any, block: int | None = None) -> Array:
    """Return J = dy/dparams of every sample, [batch, |y|, P], both in `ravel_pytree` order.

    By reverse mode, which custom_vjp functions support. Arguments as for `layerwise_gram`.
    """
    leaves = _jacobian_leaves(outputs, params, samples, block)
    return jnp.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=2)


def explicit_gram(
    outputs: Outputs,
    params: Any,
    samples: Any,
    dtype: DTypeLike | None = None,
    block: int | None = None,
) -> Array:
    """Return G = J J^T [n, n] from J itself, summed over parameter leaves.

    Holds all of J, in the dtype of the computation and up to once more in `dtype`.
    Arguments and result as for `layerwise_gram`.
    """
    dtype = np.dtype(np.float64 if dtype is None else dtype)
    return _evaluate_gram(dtype, dtype, [], _jacobian_leaves(outputs, params, samples, block))
