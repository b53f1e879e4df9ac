"""Blocks of the Gauss-Newton matrix J^T J / b: Kronecker products for dense layers."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve

from physopt.machine.devices import widest_float
from physopt.numerics.dense_layers import (
    DenseLayer,
    DenseLayers,
    find_dense_layers,
)
from physopt.numerics.float64 import evaluated_in
from physopt.numerics.gram import LayerFactors, layer_factors
from physopt.objective import Linearised
from physopt.rule import Parameters, PlanError

LARGEST_BLOCK = 512
"""Largest array outside of dense layers whose block is computed."""


class Blocks(NamedTuple):
    """Diagonal blocks of J^T J / b, for a batch of b samples."""

    layers: tuple[tuple[Array, Array], ...]  # A [in, in], a bias as last input, and B [out, out]
    others: tuple[Array, ...]  # [size, size], of other arrays

    def trace(self) -> Array:
        """Return the trace of the blocks."""
        products = [jnp.trace(a) * jnp.trace(b) for a, b in self.layers]
        return jnp.sum(jnp.stack([*products, *(jnp.trace(block) for block in self.others)]))


def find_blocks(system: Linearised) -> tuple[DenseLayers, Blocks]:
    """Return the dense layers and the blocks of a batch.

    Raises PlanError for arrays of more than LARGEST_BLOCK parameters outside of dense layers.
    """
    arguments = system.params, system.samples
    dense = find_dense_layers(system.sample_outputs, *arguments)
    _check(dense, system.params)
    layers, rows = layer_factors(dense, *arguments, block=None)
    batch = jax.tree.leaves(system.samples)[0].shape[0]
    flat = [leaf.reshape(leaf.shape[0] * leaf.shape[1], -1) for leaf in rows]
    others = tuple(j.T @ j / batch for j in flat[: len(dense.explicit)])
    return dense, Blocks(tuple(_means(layer) for layer in layers), others)


def _check(dense: DenseLayers, params: Parameters) -> None:
    paths, leaves = zip(*jax.tree.leaves_with_path(params), strict=True)
    large = [i for i in dense.explicit if leaves[i].size > LARGEST_BLOCK]
    if large:
        name = jax.tree_util.keystr(paths[large[0]], simple=True, separator=".")
        raise PlanError(
            f"{name} with {leaves[large[0]].size} parameters is not the weight of a dense layer, "
            "but of a convolution, a loop or network=none; blocks of "
            f"such arrays are limited to {LARGEST_BLOCK} parameters"
        )


def _means(layer: LayerFactors) -> tuple[Array, Array]:
    """Return E[a a^T] and E[D^T D], as means over samples; positions count as independent."""
    batch, positions, size = layer.inputs.shape
    a = layer.inputs.reshape(batch * positions, size)
    d = layer.slopes.reshape(-1, layer.slopes.shape[-1])
    return a.T @ a / len(a), d.T @ d / batch


def preconditioned(
    dense: DenseLayers, blocks: Blocks, gradient: Parameters, damping: Array
) -> Parameters:
    """Return the gradient multiplied by the inverses of the damped blocks.

    damping: lambda > 0; it is divided between A and B of a layer as in arXiv 1503.05671.
    """
    leaves, tree = jax.tree.flatten(gradient)
    result = [jnp.zeros_like(leaf) for leaf in leaves]
    dtype = widest_float()
    for layer, (a, b) in zip(dense.layers, blocks.layers, strict=True):
        weights, restore = jax.vjp(partial(_kernel_matrix, layer), leaves[layer.kernel])
        right = weights
        if layer.bias is not None:
            right = jnp.concatenate([weights, leaves[layer.bias].reshape(1, -1)])
        solved = _solve_product(dtype, right.dtype, a, b, right, damping)
        result[layer.kernel] = restore(solved[: len(weights)])[0]
        if layer.bias is not None:
            result[layer.bias] = solved[-1].reshape(leaves[layer.bias].shape)
    for i, block in zip(dense.explicit, blocks.others, strict=True):
        solved = _solve_shifted(dtype, block.dtype, block, leaves[i].ravel(), damping)
        result[i] = solved.reshape(leaves[i].shape)
    return tree.unflatten(result)


def _kernel_matrix(layer: DenseLayer, leaf: Array) -> Array:
    """Return a kernel as the matrix [in, out] that the layer's input is multiplied by.

    It is a linear function of the leaf, which rearranges its elements.
    """
    product = layer.products[0]
    for eqn in product.rearranged:
        leaf = eqn.primitive.bind(leaf, **eqn.primitive.get_bind_params(eqn.params))
    axes = product.kernel_contracted
    size = math.prod(leaf.shape[axis] for axis in axes)
    return jnp.moveaxis(leaf, axes, range(len(axes))).reshape(size, -1)


@evaluated_in
def _solve_product(a: Array, b: Array, right: Array, damping: Array) -> Array:
    """Return (A + pi sqrt(lambda) I)^-1 R (B + sqrt(lambda) / pi I)^-1."""
    of_a, of_b = jnp.trace(a) / len(a), jnp.trace(b) / len(b)
    positive = (of_a > 0) & (of_b > 0)
    pi = jnp.sqrt(jnp.where(positive, of_a / jnp.where(positive, of_b, 1), 1))
    root = jnp.sqrt(damping)
    left = _cholesky_solve(a, right, pi * root)
    return _cholesky_solve(b, left.T, root / pi).T


@evaluated_in
def _solve_shifted(matrix: Array, right: Array, damping: Array) -> Array:
    return _cholesky_solve(matrix, right, damping)


def _cholesky_solve(matrix: Array, right: Array, shift: Array) -> Array:
    return cho_solve(cho_factor(matrix + shift * jnp.eye(len(matrix), dtype=matrix.dtype)), right)
