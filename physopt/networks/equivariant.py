"""Tensor field network of the plane: from a graph of bonds to tensors, equivariant under O(2).

A rotation of the plane by an angle a multiplies the harmonic of order m of a bond's direction,
exp(i m theta), by exp(i m a); a reflection at the first axis conjugates it. Features are such
harmonics, real for m = 0 and complex for m = 1 ... M. The product of harmonics of orders m and n is
one of order m + n: it takes the place of the Clebsch-Gordan product of spherical harmonics. With
real weights all maps commute with rotations and reflections.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.numerics.linalg import HIGHEST


class PlanarTensorField(nnx.Module):
    """Tensors of a graph in the plane, from its bonds.

    vectors [batch, bonds, 2] point from the first to the second node of a bond, and scalars
    [batch, bonds, inputs] are numbers of the bonds. The layers of `Interaction` compute features of
    the nodes. The result is the mean over nodes of a linear map of the features,
    [batch, numbers]: for each order m > 0 of `outputs` real and imaginary part, which a rotation by
    a multiplies by exp(i m a), and one number for each m = 0. It does not depend on the order of
    the nodes.

    In space the features are spherical harmonics, and e3nn-jax computes their products, see
    `physopt.networks.equivariant_3d`. Structures and tensors in the plane need the subgroup O(2)
    alone: its representations have one or two components instead of 2 l + 1, and their products
    one term.

    Source: N. Thomas et al., "Tensor field networks", arXiv 1802.08219, with O(2) in place of O(3).
    """

    def __init__(
        self,
        ends: np.ndarray,
        inputs: int,
        outputs: Sequence[int],
        rngs: nnx.Rngs,
        channels: int = 8,
        layers: int = 2,
        hidden: int = 16,
        order: int = 4,
    ):
        """ends [bonds, 2] are the nodes of each bond, the same in all samples."""
        self.ends = tuple(map(tuple, np.asarray(ends).tolist()))
        self.outputs, self.order = tuple(outputs), order
        sizes = itertools.pairwise([1, *[channels] * layers])
        self.layers = nnx.List(
            [Interaction(m, n, order, inputs + 1, hidden, rngs) for m, n in sizes]
        )
        self.exit = _weights((channels, len(self.outputs)), rngs)
        self.offset = nnx.Param(jnp.zeros(len(self.outputs)))

    def __call__(self, vectors: jax.Array, scalars: jax.Array) -> jax.Array:
        """Evaluate the network."""
        length = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        unit = vectors / length
        direction = jax.lax.complex(unit[..., 0], unit[..., 1])
        powers = [jnp.ones_like(direction)]
        for _ in range(self.order):
            powers.append(powers[-1] * direction)
        graph = _both_ways(self.ends, jnp.stack(powers, axis=-1), scalars, length)
        z = jnp.zeros((len(vectors), len(graph.mean), self.order + 1, 1), direction.dtype)
        z = z.at[:, :, 0].set(1)
        for layer in self.layers:
            z = layer(z, graph)
        z = z.mean(axis=1)[:, np.array(self.outputs)]
        z = jnp.einsum("boc,co->bo", z, self.exit[...], precision=HIGHEST)
        numbers = []
        for k, m in enumerate(self.outputs):
            numbers += [z[:, k].real + self.offset[k]] if m == 0 else [z[:, k].real, z[:, k].imag]
        return jnp.stack(numbers, axis=1)


class _Graph(NamedTuple):
    """Bonds as seen from each of their nodes, [batch, 2 bonds, ...]."""

    harmonics: jax.Array
    """u^m of the directions u, m = 0 ... M"""
    numbers: jax.Array
    """Scalars and length"""
    mean: jax.Array
    """Weights of the mean over the bonds of a node, [nodes, 2 bonds]"""
    other: np.ndarray
    """Node at the other end, [2 bonds]"""


def _both_ways(
    ends: Sequence[Sequence[int]], harmonics: jax.Array, scalars: jax.Array, length: jax.Array
) -> _Graph:
    mean, other = neighbours(ends)
    numbers = jnp.concatenate([scalars, length - 1], axis=-1)
    reverse = harmonics * (-1.0) ** np.arange(harmonics.shape[-1])
    return _Graph(
        jnp.concatenate([harmonics, reverse], axis=1),
        jnp.concatenate([numbers, numbers], axis=1),
        jnp.asarray(mean, numbers.dtype),
        other,
    )


def neighbours(ends: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return weights of the mean over the bonds of a node, and the node at the other end.

    Each bond is seen from both of its nodes: [nodes, 2 bonds] and [2 bonds], first from the first
    nodes and then from the second ones.
    """
    first, second = np.array(ends).T
    here, other = np.concatenate([first, second]), np.concatenate([second, first])
    gather = np.arange(1 + here.max())[:, None] == here
    return gather / gather.sum(axis=1, keepdims=True), other


class Interaction(nnx.Module):
    """Messages between neighbours: features [batch, nodes, M + 1, m] -> [batch, nodes, M + 1, n].

    f_i^m <- gate(A^m f_i^m + B^m mean_j sum_k w_mk f_j^k u^(m - k)),   f^-k = conj f^k,

    with the direction u of the bond from i to j, and real weights w_mk that a dense network
    computes from its scalars and length. The gate is tanh for m = 0; for m > 0 it multiplies by a
    sigmoid of the features of order 0.
    """

    def __init__(
        self, inputs: int, outputs: int, order: int, scalars: int, hidden: int, rngs: nnx.Rngs
    ):
        orders = range(order + 1)
        # Only the real part is used for m = 0, where k and -k have the same.
        self.paths = tuple((m, k) for m in orders for k in range(m - order if m else 0, order + 1))
        self.radial = Dense((scalars, hidden, inputs * len(self.paths)), rngs)
        self.message = _weights((order + 1, inputs, outputs), rngs)
        self.keep = _weights((order + 1, inputs, outputs), rngs)
        self.gate = nnx.Linear(outputs, order * outputs, rngs=rngs)

    def __call__(self, z: jax.Array, graph: _Graph) -> jax.Array:
        """Evaluate the layer."""
        order = z.shape[2] - 1
        m, k = np.array(self.paths).T
        weights = self.radial(graph.numbers).reshape(*graph.numbers.shape[:2], len(m), -1)
        neighbours = _signed(z, axis=2)[:, graph.other][:, :, order + k]
        terms = weights * neighbours * _signed(graph.harmonics, axis=2)[:, :, order + m - k, None]
        of_order = jnp.asarray(m[:, None] == np.arange(order + 1), weights.dtype)
        sums = jnp.einsum("bepc,pm,ie->bimc", terms, of_order, graph.mean, precision=HIGHEST)
        z = _mix(z, self.keep[...]) + _mix(sums, self.message[...])
        scalar = jnp.tanh(z[:, :, :1].real)
        gates = jax.nn.sigmoid(self.gate(scalar)).reshape(*z.shape[:2], order, -1)
        return jnp.concatenate([scalar.astype(z.dtype), gates * z[:, :, 1:]], axis=2)


def _signed(z: jax.Array, axis: int) -> jax.Array:
    """Return orders -M ... M from orders 0 ... M."""
    positive = jax.lax.slice_in_dim(z, 1, None, axis=axis)
    return jnp.concatenate([jnp.conj(jnp.flip(positive, axis)), z], axis=axis)


def _mix(z: jax.Array, weights: jax.Array) -> jax.Array:
    """Mix the channels of each order."""
    return jnp.einsum("bimc,mcd->bimd", z, weights, precision=HIGHEST)


def _weights(shape: tuple[int, ...], rngs: nnx.Rngs) -> nnx.Param:
    """Draw weights [..., inputs, outputs] of deviation 1 / sqrt(inputs)."""
    return nnx.Param(jax.random.normal(rngs.params(), shape) / np.sqrt(shape[-2]))
