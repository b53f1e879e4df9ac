"""Periodic lattices split into two colours, for red-black sweeps.

With an even side the sites fall into red ones, whose coordinates have an even sum, and black ones,
and all neighbours of a site have the other colour. Two sites that follow each other in a row form a
cell, with one of either colour; a part holds the sites of a colour by cell. An odd periodic side
has no such colouring and is not split.

`Lattice` is what sweeps and the linear response need of any split.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jax import Array

Parts = tuple[Array, ...]
"""One array [n, n/2, lanes] per colour; a single [n, n, lanes] if the side is odd."""


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
    def _split(self) -> bool:
        return self.side % 2 == 0 and not self.whole

    @property
    def colours(self) -> list[list[int]]:
        """Parts that are updated together: their sites are not neighbours."""
        return [[0], [1]] if self._split else [[0]]

    @property
    def _cells(self) -> tuple[int, ...]:
        """Shape of a part, without lanes."""
        last = self.side // 2 if self._split else self.side
        return (*(self.side,) * (self.dimensions - 1), last)

    def _odd_rows(self) -> np.ndarray:
        """Whether the coordinates of a row, all but the last, have an odd sum: [n, ..., 1]."""
        return (np.indices((self.side,) * (self.dimensions - 1)).sum(0) % 2 == 1)[..., None]

    def flatten(self, x: Array) -> Array:
        """Lattice to storage order, colour by colour: [..., n, n] -> [..., sites]."""
        lead = x.shape[: x.ndim - self.dimensions]
        if self._split:
            pairs = x.reshape(*lead, *self._cells, 2)
            first, second, odd = pairs[..., 0], pairs[..., 1], self._odd_rows()
            red, black = jnp.where(odd, second, first), jnp.where(odd, first, second)
            x = jnp.stack([red, black], axis=len(lead))
        return x.reshape(*lead, self.sites)

    def unflatten(self, x: Array) -> Array:
        """Storage order to lattice: [..., sites] -> [..., n, n]."""
        lead = x.shape[:-1]
        if self._split:
            colours = x.reshape(*lead, 2, *self._cells)
            red, black = (jnp.take(colours, colour, axis=len(lead)) for colour in (0, 1))
            odd = self._odd_rows()
            x = jnp.stack([jnp.where(odd, black, red), jnp.where(odd, red, black)], axis=-1)
        return x.reshape(*lead, *(self.side,) * self.dimensions)

    def parts(self, rows: Array) -> Parts:
        """Rows [lanes, sites] to parts; the lanes come last, where code vectorises."""
        lanes, colours = rows.shape[0], len(self.colours)
        if self.whole:
            return (rows.reshape(lanes, *self._cells),)
        stacked = rows.T.reshape(colours, *self._cells, lanes)
        return tuple(stacked[index] for index in range(colours))

    def rows(self, parts: Parts) -> Array:
        """Inverse of `parts`."""
        if self.whole:
            return parts[0].reshape(-1, self.sites)
        return jnp.stack(parts).reshape(self.sites, -1).T

    def neighbour_sum(self, parts: Sequence[Array] | Mapping[int, Array], index: int) -> Array:
        """Sum over the neighbours of the sites of part `index`; reads only their parts."""
        if not self._split:
            whole, axes = parts[0], self._site_axes(parts[0])
            return sum_arrays(jnp.roll(whole, shift, axis) for axis in axes for shift in (1, -1))
        other, last = parts[1 - index], self.dimensions - 1
        rows = [jnp.roll(other, shift, axis) for axis in range(last) for shift in (1, -1)]
        # The site 2 j + q of a row has its neighbours in the cells j and j - 1 + 2 q.
        second = (self._odd_rows() != bool(index))[..., None]
        moved = jnp.where(second, jnp.roll(other, -1, last), jnp.roll(other, 1, last))
        return sum_arrays([other, moved, *rows])

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
