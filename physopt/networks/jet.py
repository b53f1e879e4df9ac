"""Jets: the value of a network and its derivatives in its inputs, for differential equations.

An entry is named by the coordinates in which u is differentiated: with coordinates "tx" the entries
"u", "u_t", "u_xx" are the value, its time derivative and its second derivative in x. "laplacian" is
the sum of the second derivatives in all coordinates.

There are two ways. `nested` differentiates any network by nested forward mode, one level for each
order. `forward` carries the derivatives through a dense network beside its values. With a layer
z = W a + b and an elementwise activation s,

    d_i z = W d_i a,    d_i s(z) = s'(z) d_i z,    lap s(z) = s'(z) lap z + s''(z) sum_i (d_i z)^2

and higher derivatives by the formula of Faa di Bruno. Both give the same numbers to rounding; the
derivative of a jet in the parameters costs 2 to 10 times less with `forward`.

Source of the forward Laplacian: R. Li et al., arXiv 2307.08214.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import Protocol

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from physopt.networks import Dense, Identity

Key = tuple[int, ...]
"""Coordinates of a derivative in ascending order: () is the value, (1, 1) d^2/dx_1^2."""

LAPLACIAN: Key = (-1,)

Jets = dict[Key, Array]
"""Derivatives of one function of the points, all of one shape [batch, ...]."""

Function = Callable[[Array], Array]


class Form(Protocol):
    """A constrained form of the solution, u(p) = offset(p) + factor(p) N(features(p)).

    Conditions where the factor vanishes hold exactly, whatever the network N: there u is the
    offset. Functions of points [batch, d], each sample by itself. A form is static, and equal forms
    share compiled programs: a frozen dataclass.
    """

    def features(self, points: Array) -> Array:
        """Return the inputs of the network, [batch, features]."""
        ...

    def offset(self, points: Array) -> Array:
        """Return the part of u without parameters, [batch]."""
        ...

    def factor(self, points: Array) -> Array:
        """Return the factor of the network, [batch]."""
        ...


class Ansatz(nnx.Module):
    """u(p) = offset(p) + factor(p) N(features(p)): points [batch, d] -> u [batch, 1]."""

    def __init__(self, form: Form, dense: Dense):
        self.form, self.dense = form, dense

    def __call__(self, points: Array) -> Array:
        """Evaluate u."""
        form = self.form
        z = self.dense(form.features(points))
        return form.offset(points)[:, None] + form.factor(points)[:, None] * z


class Jet(nnx.Module):
    """Entries of the jet of a network u: points [batch, d] -> [batch, entries], in their order.

    inner: a module [batch, d] -> [batch, 1] whose samples are independent. A `Dense` and an
    `Ansatz` are differentiated by `forward`, unless `nested` is set, all others by `nested`.
    Raises ValueError for an entry that names no derivative in the coordinates.
    """

    def __init__(
        self, inner: nnx.Module, coordinates: str, entries: tuple[str, ...], *, nested: bool = False
    ):
        self.inner, self.nested = inner, nested
        self.keys = tuple(entry_key(entry, coordinates) for entry in entries)

    def __call__(self, points: Array) -> Array:
        """Evaluate the jet."""
        jets = _network_jets(self.inner, points, self.keys, self.nested)
        return jnp.stack([jets[key][:, 0] for key in self.keys], axis=1)


def entry_key(entry: str, coordinates: str) -> Key:
    """Return the key of an entry. Raises ValueError if it names no derivative."""
    if entry == "laplacian":
        return LAPLACIAN
    name, mark, letters = entry.partition("_")
    if name != "u" or bool(mark) != bool(letters) or not set(letters) <= set(coordinates):
        raise ValueError(f"{entry} is no derivative of u in the coordinates {coordinates}")
    return tuple(sorted(coordinates.index(letter) for letter in letters))


def nested_jets(function: Function, points: Array, keys: Iterable[Key]) -> Jets:
    """Return derivatives of a function [batch, d] -> [batch, ...] of independent samples.

    Reference: nested forward mode, all samples at once because no sample depends on another.
    """
    basis = jnp.eye(points.shape[-1], dtype=points.dtype)

    def along(direction: Array, inner: Function) -> Function:
        tangent = jnp.broadcast_to(direction, points.shape)
        return lambda p: jax.jvp(inner, (p,), (tangent,))[1]

    def derivative(key: Key) -> Array:
        if key == LAPLACIAN:
            second = jax.vmap(lambda e: along(e, along(e, function))(points))(basis)
            return jnp.sum(second, axis=0)
        result = function
        for coordinate in key:
            result = along(basis[coordinate], result)
        return result(points)

    return {key: derivative(key) for key in keys}


def _network_jets(inner: nnx.Module, points: Array, keys: tuple[Key, ...], nested: bool) -> Jets:
    dense = inner.dense if isinstance(inner, Ansatz) else inner
    if nested or not isinstance(dense, Dense) or not _is_plain(dense):
        return nested_jets(inner, points, keys)  # type: ignore[arg-type]
    needed = _closure(keys, points.shape[-1])
    if not isinstance(inner, Ansatz):
        return dense_jets(dense, nested_jets(lambda p: p, points, needed))
    form = inner.form
    jets = dense_jets(dense, nested_jets(form.features, points, needed))
    offset, factor = (
        nested_jets(lambda p, part=part: part(p)[:, None], points, needed)
        for part in (form.offset, form.factor)
    )
    return {key: offset[key] + _product(factor, jets, key) for key in keys}


def _is_plain(dense: Dense) -> bool:
    """Return whether a dense network has no normalisation, whose derivatives are not carried."""
    return all(isinstance(norm, Identity) for norm in dense.norms)


def dense_jets(dense: Dense, jets: Jets) -> Jets:
    """Carry the derivatives of a network's inputs [batch, features] to its outputs.

    jets: with every derivative, all those of lower order that its chain rule needs.
    """
    for layer in dense.layers[:-1]:
        jets = _activated(dense.activation, _linear(layer, jets))
    return _linear(dense.layers[-1], jets)


def _linear(layer: nnx.Linear, jets: Jets) -> Jets:
    """Apply a dense layer to all derivatives; the bias moves the value only."""
    kernel = layer.kernel[...]
    # XLA's product of all derivatives' rows at once takes five times as long inside a loop.
    result = {key: jet @ kernel for key, jet in jets.items()}
    if layer.bias is not None:
        result[()] = result[()] + layer.bias[...]
    return result


def _activated(activation: Function, jets: Jets) -> Jets:
    """Apply an elementwise function."""
    order = max(2 if key == LAPLACIAN else len(key) for key in jets)
    slopes = _slopes(activation, jets[()], order)
    return {key: _chain(slopes, jets, key) for key in jets}


def _slopes(function: Function, z: Array, order: int) -> list[Array]:
    """Return an elementwise function and its derivatives at z."""
    functions = [function]
    for _ in range(order):
        last = functions[-1]
        functions.append(lambda z, last=last: jax.jvp(last, (z,), (jnp.ones_like(z),))[1])
    return [each(z) for each in functions]


def _chain(slopes: list[Array], jets: Jets, key: Key) -> Array:
    """Return one derivative of s(z): the sum over the partitions of its coordinates into blocks."""
    if key == ():
        return slopes[0]
    if key == LAPLACIAN:
        squares = sum(jets[k] ** 2 for k in jets if len(k) == 1 and k != LAPLACIAN)
        return slopes[2] * squares + slopes[1] * jets[LAPLACIAN]
    terms = (
        slopes[len(blocks)] * math.prod([jets[block] for block in blocks])
        for blocks in _partitions(key)
    )
    return sum(terms, jnp.zeros_like(slopes[0]))


def _product(a: Jets, b: Jets, key: Key) -> Array:
    """Return one derivative of a b: the sum over the divisions of its coordinates."""
    if key == LAPLACIAN:
        mixed = sum(a[k] * b[k] for k in a if len(k) == 1 and k != LAPLACIAN)
        return a[()] * b[LAPLACIAN] + 2 * mixed + a[LAPLACIAN] * b[()]
    total = jnp.zeros_like(b[()])
    for count in range(len(key) + 1):
        for chosen in combinations(range(len(key)), count):
            rest = tuple(k for i, k in enumerate(key) if i not in chosen)
            total = total + a[tuple(key[i] for i in chosen)] * b[rest]
    return total


def _partitions(key: Key) -> Iterator[list[Key]]:
    """Yield the partitions of the positions of a key into blocks, each block as a key."""
    if not key:
        yield []
        return
    first, rest = key[0], key[1:]
    for count in range(len(rest) + 1):
        for chosen in combinations(range(len(rest)), count):
            block = (first, *(rest[i] for i in chosen))
            others = tuple(k for i, k in enumerate(rest) if i not in chosen)
            for blocks in _partitions(others):
                yield [block, *blocks]


def _closure(keys: Iterable[Key], dimension: int) -> tuple[Key, ...]:
    """Return the keys and all lower derivatives that the rules of chain and product need."""
    needed: set[Key] = {()}
    for key in keys:
        if key == LAPLACIAN:
            needed |= {LAPLACIAN, *((i,) for i in range(dimension))}
        else:
            needed |= {
                tuple(key[i] for i in chosen)
                for count in range(len(key) + 1)
                for chosen in combinations(range(len(key)), count)
            }
    return tuple(sorted(needed, key=lambda key: (len(key), key)))
