"""Periodic lattices split by the parity of each coordinate, for red-black sweeps.

With an even side the sites fall into 2^d sublattices; neighbours along an axis lie on the
sublattice whose parity differs on that axis, one in the same cell and one in the next or previous
cell. A half sweep then touches half the memory and shifts d arrays instead of 2 d. An odd periodic
side has no such colouring and is not split.

`Lattice` is what sweeps and the linear response need of any split.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import jax.numpy as jnp
from jax import Array

Parts = tuple[Array, ...]
"""One array [n/2, n/2, lanes] per sublattice; a single [n, n, lanes] if the side is odd."""


class Lattice(Protocol):
    """A periodic lattice whose sites are divided into parts."""

    @property
    def sites(self) -> int:
        """Number of sites."""
        ...

    @property
    def colours(self) -> list[list[int]]:
        """Parts that are updated together: their sites are not neighbours."""
        ...

    def neighbour_sum(self, parts: Sequence[Array] | Mapping[int, Array], index: int) -> Array:
        """Sum over the neighbours of the sites of part `index`; reads only their parts."""
        ...

    def lane_sum(self, parts: Iterable[Array]) -> Array:
        """Sum over the sites of each lane."""
        ...

    def lane_max(self, parts: Iterable[Array]) -> Array:
        """Maximum over the sites of each lane."""
        ...

    def any_lane(self, flags: Array) -> Array:
        """Whether the flag of any lane is set."""
        ...


@dataclass(frozen=True)
class Sublattices:
    """The split of a lattice with `side` sites along each of its `dimensions` axes."""

    side: int
    dimensions: int
    whole: bool = False
    """Whether the lattice is one part with the lanes first, [lanes, n, n], as kernels read it."""

    @property
    def sites(self) -> int:
        """Number of sites."""
        return self.side**self.dimensions

    @property
    def period(self) -> int:
        """Sublattices along an axis: 2, or 1 if the side is odd or the lattice is not split."""
        return 2 if self.side % 2 == 0 and not self.whole else 1

    @property
    def parities(self) -> list[tuple[int, ...]]:
        """Parity of each sublattice along every axis, in storage order."""
        return list(itertools.product(range(self.period), repeat=self.dimensions))

    @property
    def colours(self) -> list[list[int]]:
        """Sublattices that are updated together: their sites are not neighbours."""
        numbered = list(enumerate(self.parities))
        return [
            [index for index, parity in numbered if sum(parity) % 2 == colour]
            for colour in range(self.period)
        ]

    @property
    def _cells(self) -> tuple[int, ...]:
        return (self.side // self.period,) * self.dimensions

    def flatten(self, x: Array) -> Array:
        """Lattice to storage order: [..., n, n] -> [..., sites]."""
        d, lead = self.dimensions, x.shape[: x.ndim - self.dimensions]
        split = [size for cell in self._cells for size in (cell, self.period)]
        start = len(lead)
        parity_axes = [start + 2 * axis + 1 for axis in range(d)]
        cell_axes = [start + 2 * axis for axis in range(d)]
        x = x.reshape(*lead, *split).transpose(*range(start), *parity_axes, *cell_axes)
        return x.reshape(*lead, self.sites)

    def unflatten(self, x: Array) -> Array:
        """Storage order to lattice: [..., sites] -> [..., n, n]."""
        d, lead = self.dimensions, x.shape[:-1]
        start = len(lead)
        interleaved = [start + axis + shift for axis in range(d) for shift in (d, 0)]
        x = x.reshape(*lead, *(self.period,) * d, *self._cells)
        return x.transpose(*range(start), *interleaved).reshape(*lead, *(self.side,) * d)

    def parts(self, rows: Array) -> Parts:
        """Rows [lanes, sites] to sublattices; the lanes come last, where code vectorises."""
        lanes = rows.shape[0]
        if self.whole:
            return (rows.reshape(lanes, *self._cells),)
        stacked = rows.T.reshape(len(self.parities), *self._cells, lanes)
        return tuple(stacked[index] for index in range(len(self.parities)))

    def rows(self, parts: Parts) -> Array:
        """Inverse of `parts`."""
        if self.whole:
            return parts[0].reshape(-1, self.sites)
        return jnp.stack(parts).reshape(self.sites, -1).T

    def neighbour_sum(self, parts: Sequence[Array] | Mapping[int, Array], index: int) -> Array:
        """Sum over the neighbours of the sites of sublattice `index`; reads only their parts."""
        if self.period == 1:
            whole, axes = parts[0], self._site_axes(parts[0])
            return sum_arrays(jnp.roll(whole, shift, axis) for axis in axes for shift in (1, -1))
        parity = self.parities[index]
        terms: list[Array] = []
        for axis in range(self.dimensions):
            flipped = tuple(p ^ (a == axis) for a, p in enumerate(parity))
            other = parts[self.parities.index(flipped)]
            terms += [other, jnp.roll(other, -1 if parity[axis] else 1, axis)]
        return sum_arrays(terms)

    def lane_sum(self, parts: Iterable[Array]) -> Array:
        """Sum over the lattice for each lane: [..., lanes] -> [lanes]."""
        return sum_arrays(x.sum(self._site_axes(x)) for x in parts)

    def lane_max(self, parts: Iterable[Array]) -> Array:
        """Maximum over the lattice for each lane: [..., lanes] -> [lanes]."""
        return reduce(jnp.maximum, (x.max(self._site_axes(x)) for x in parts))

    def any_lane(self, flags: Array) -> Array:
        """Whether the flag of any lane is set: [lanes] -> []."""
        return flags.any()

    def _site_axes(self, part: Array) -> tuple[int, ...]:
        return tuple(range(1, part.ndim)) if self.whole else tuple(range(part.ndim - 1))


def sum_arrays(terms: Iterable[Array]) -> Array:
    """Sum of at least one array."""
    return reduce(operator.add, terms)
