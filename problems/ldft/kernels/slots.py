"""A lane inside a kernel: its sites in registers, by colour, and a row of memory for neighbours."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.problems.ldft.sublattices import Parts, Sublattices, sum_arrays


class Tables(NamedTuple):
    """Sites and neighbours of the slots: slot s of colour c is element c * slots + s of a row.

    A colour has a power of two of slots, as Triton requires; those without a site are padding.
    """

    sites: np.ndarray
    """Site of each slot, -1 in padding, [colours, slots], int32."""
    neighbours: np.ndarray
    """Elements of the row that hold the neighbours of a slot [colours, 2 d, slots], int32."""


@functools.cache
def tables(lattice: Sublattices) -> Tables:
    """Number the slots of a lattice: red and black sites, or all of them if the side is odd."""
    side, dimensions = lattice.side, lattice.dimensions
    position = np.array(list(itertools.product(range(side), repeat=dimensions)))
    colours = 2 if side % 2 == 0 else 1
    members = [np.flatnonzero(position.sum(1) % colours == colour) for colour in range(colours)]
    slots = 1 << (len(members[0]) - 1).bit_length()
    sites = np.full((colours, slots), -1, np.int32)
    element = np.zeros(lattice.sites, np.int32)
    for colour, group in enumerate(members):
        sites[colour, : len(group)] = group
        element[group] = colour * slots + np.arange(len(group))
    # Padding reads padding of the other colour, which is written before it is read, and is 0.
    written = np.arange(colours * slots, dtype=np.int32).reshape(colours, 1, slots)[::-1]
    neighbours = np.repeat(written, 2 * dimensions, axis=1)
    for colour, group in enumerate(members):
        for axis, shift in itertools.product(range(dimensions), (1, -1)):
            moved = position[group].copy()
            moved[:, axis] = (moved[:, axis] + shift) % side
            site = np.ravel_multi_index(tuple(moved.T), (side,) * dimensions)
            neighbours[colour, 2 * axis + (shift < 0), : len(group)] = element[site]
    return Tables(sites, neighbours)


@dataclass(frozen=True)
class LaneInMemory:
    """The lattice of one lane: parts [slots], one for each colour, and scalars as sums.

    Neighbours belong to other threads, which see them through a row of memory. A colour is written
    again only after a barrier that follows its reading; with two colours the barrier of the other
    one is that.
    """

    lattice: Sublattices
    rows: Any
    """Memory of one row or several, behind each other."""
    offset: Any
    """Element of `rows` at which the lane's row begins."""
    neighbours: Sequence[Sequence[Array]]
    interpret: bool

    @property
    def sites(self) -> int:
        """Number of sites."""
        return self.lattice.sites

    @property
    def colours(self) -> list[list[int]]:
        """One part for each colour."""
        return [[index] for index in range(len(self.neighbours))]

    def neighbour_sum(self, parts: Sequence[Array] | Mapping[int, Array], index: int) -> Array:
        """Write the part that holds the neighbours, then sum what each slot reads of it."""
        other = len(self.neighbours) - 1 - index
        self.write(parts[other], other)
        elements = self.neighbours[index]
        total = sum_arrays(self.rows[self.offset + element] for element in elements)
        if other == index:
            self.barrier()
        return total

    def write(self, part: Array, index: int) -> None:
        """Write a part into the row, for all threads to see."""
        from jax.experimental import pallas as pl

        slots = part.shape[0]
        self.rows[pl.ds(self.offset + index * slots, slots)] = part
        self.barrier()

    def barrier(self) -> None:
        """Wait for the writes of all threads; the interpreter has one thread."""
        if not self.interpret:
            from jax.experimental.pallas import triton

            triton.debug_barrier()

    def lane_sum(self, parts: Iterable[Array]) -> Array:
        """Sum over the sites, a scalar."""
        return jnp.sum(sum_arrays(parts))

    def lane_max(self, parts: Iterable[Array]) -> Array:
        """Maximum over the sites, a scalar."""
        return jnp.max(functools.reduce(jnp.maximum, parts))

    def any_lane(self, flags: Array) -> Array:
        """Return the flag of the lane."""
        return flags


def read(row: Any, sites: Any, count: int) -> Parts:
    """Read a row in the order of sites into slots; padding is 0."""
    return tuple(_read_part(row, sites[colour, :]) for colour in range(count))


def _read_part(row: Any, sites: Array) -> Array:
    value = row[jnp.maximum(sites, 0)]
    return jnp.where(sites >= 0, value, jnp.zeros_like(value))
