"""The Gram matrix J J^T of a batch's outputs in all parameters, layer by layer, without J.

For a dense layer z = a W the rows of J that belong to W are outer products of the layer's input a
and the derivative D = dy/dz, so with samples i, j

    J_W J_W^T = (a_i . a_j) (D_i D_j^T),

n^2 out operations and n out numbers instead of n^2 in out and n in out. If the layer acts on
T positions at once, J_W = sum_t a_t (x) D_t. A bias added to z has J_b = D, which adds 1 to the
factor a_i . a_j. `physopt.numerics.dense_layers` finds these layers in any differentiable
function; all other leaves contribute explicit rows of J. Both ways are exact.

If the physics gives its own Jacobian A = dy/dx at x = network(c), pass the samples (c, A) and
`outputs = lambda params, sample: sample.A @ network(params, sample.c)`: its J is the same, and
differentiating it never touches the physics.
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
    DenseProduct,
    DenseProducts,
    Outputs,
    ParameterSplit,
    evaluate_shifted,
    find_dense_products,
)
from physopt.numerics.float64 import evaluated_in
from physopt.numerics.linalg import HIGHEST

# Entries of a block of explicit rows that are multiplied at a time.
_BLOCK = 2**25


def parameter_split(outputs: Outputs, params: Any, samples: Any) -> ParameterSplit:
    """Tell which parameter leaves `layerwise_gram` treats in which way, without computing it.

    Arguments as for `layerwise_gram`; leaves may be `jax.ShapeDtypeStruct`s.
    """
    return find_dense_products(outputs, params, samples).split


def _over_samples(function: Callable[[Any], Any], samples: Any, block: int | None) -> Any:
    """vmap over all samples, or over blocks of samples one after the other."""
    if block is None:
        return jax.vmap(function)(samples)
    return lax.map(function, samples, batch_size=block)


class _Layer(NamedTuple):
    inputs: Array  # [batch, T, in]
    slopes: Array  # dy/dz [batch, |y|, T, out]
    bias: Array  # 1 if a bias is added to z, 0 if not


def _factors(
    found: DenseProducts, params: Any, samples: Any, block: int | None
) -> tuple[list[_Layer], list[Array]]:
    """The dense layers' factors, and the other leaves' rows [batch, |y|, ...]."""
    leaves: list[Array] = jax.tree.leaves(params)
    if not found.products and not found.explicit:
        batch, y = jax.tree.leaves(samples)[0].shape[0], found.jaxpr.out_avals[0]
        return [], [jnp.zeros((batch, y.size, 0), y.dtype)]

    def differentiate(sample: Any) -> Any:
        def shifted(shifts: list[Array], some: list[Array]) -> tuple[Array, list[Array]]:
            mixed = dict(enumerate(leaves)) | dict(zip(found.explicit, some, strict=True))
            return evaluate_shifted(found, list(mixed.values()), sample, shifts)

        zeros = [jnp.zeros(product.shape, product.dtype) for product in found.products]
        some = [leaves[i] for i in found.explicit]
        return jax.jacrev(shifted, argnums=(0, 1), has_aux=True)(zeros, some)

    (slopes, rows), inputs = _over_samples(differentiate, samples, block)
    layers = [
        _layer(p, a, d, jnp.asarray(p.kernel in found.biased, d.dtype))
        for p, a, d in zip(found.products, inputs, slopes, strict=True)
    ]
    return layers, rows


def _layer(product: DenseProduct, operand: Array, slopes: Array, bias: Array) -> _Layer:
    """Bring a [batch, ...] and D [batch, |y|, ...] into the order of axes of `_Layer`."""
    b, m, t = *slopes.shape[:2], product.positions
    axes = [axis + 1 for axis in product.contracted]
    inputs = jnp.moveaxis(operand, axes, range(operand.ndim - len(axes), operand.ndim))
    inputs = inputs.reshape(b, t, math.prod(operand.shape[axis] for axis in axes))
    # The product's axes are those of its left operand, then those of its right one.
    out = math.prod(product.shape) // max(t, 1)
    if product.side == 1:
        return _Layer(inputs, slopes.reshape(b, m, t, out), bias)
    return _Layer(inputs, slopes.reshape(b, m, out, t).swapaxes(2, 3), bias)


def _column_blocks(size: int, height: int) -> Iterator[slice]:
    """Cut columns so that a block of `height` rows is small beside the factors themselves."""
    width = max(1, _BLOCK // max(1, height))
    return (slice(start, start + width) for start in range(0, size, width))


def _rows_gram(rows: Array) -> Array:
    """J_p J_p^T of explicit rows [batch, |y|, ...], as [n, n]."""
    n = rows.shape[0] * rows.shape[1]
    flat = rows.reshape(n, math.prod(rows.shape[2:]))
    total = jnp.zeros((n, n), rows.dtype)
    for columns in _column_blocks(flat.shape[1], n):
        total += jnp.matmul(flat[:, columns], flat[:, columns].T, precision=HIGHEST)
    return total


def _layer_gram(layer: _Layer) -> Array:
    """J_W J_W^T (+ J_b J_b^T) of a dense layer, as [n, n]."""
    a, d, bias = layer
    b, m, t, out = d.shape
    size = a.shape[-1]

    def pair(s: Array | int, u: Array | int) -> Array:
        inner = jnp.matmul(a[:, s], a[:, u].T, precision=HIGHEST) + bias
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


def _gram(layers: list[_Layer], rows: list[Array]) -> Array:
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
    """G = J J^T, J = dy/dparams stacked over the batch, without J for dense layers: [n, n].

    n = batch |y|, the rows of a sample next to each other, a sample's y in the order of
    `jax.flatten_util.ravel_pytree`.

    outputs: y of one sample, outputs(params, sample); any differentiable function.
    params: a pytree of real floating arrays. samples: a pytree with leading axis [batch].
    dtype: that of the Gram matrix, float64 by default (see `physopt.numerics.linalg`); the factors
        it is         built from keep the dtype of the computation.
    block: samples differentiated at a time; None all at once.
    Raises ValueError for parameters that are not real floating and samples without arrays.

    For the updates of Schnell, Holl, Thuerey (arXiv:2203.10131): `gram_power` of it, then one
    vector-Jacobian product. While 64-bit types are off, hand the float64 result to `gram_power` as
    it is: ordinary operations on it would round it to float32.
    """
    dtype = np.dtype(np.float64 if dtype is None else dtype)
    found = find_dense_products(outputs, params, samples)
    layers, rows = _factors(found, params, samples, block)
    return _evaluate_gram(dtype, dtype, layers, rows)


def _jacobian_leaves(outputs: Outputs, params: Any, samples: Any, block: int | None) -> list[Array]:
    """J by parameter leaves, [batch, |y|, ...] each."""

    def rows(sample: Any) -> Any:
        return jax.jacrev(lambda p: ravel_pytree(outputs(p, sample))[0])(params)

    return jax.tree.leaves(_over_samples(rows, samples, block))


def jacobian(outputs: Outputs, params: Any, samples: Any, block: int | None = None) -> Array:
    """J = dy/dparams of every sample, [batch, |y|, P], in `ravel_pytree` order on both sides.

    By reverse mode, so that custom_vjp functions are served. Arguments as for `layerwise_gram`.
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
    """G = J J^T from J itself, summed over parameter leaves: the reference for `layerwise_gram`.

    J is held whole, in the dtype of the computation and up to once more in `dtype`.
    Arguments and result as for `layerwise_gram`.
    """
    dtype = np.dtype(np.float64 if dtype is None else dtype)
    return _evaluate_gram(dtype, dtype, [], _jacobian_leaves(outputs, params, samples, block))
