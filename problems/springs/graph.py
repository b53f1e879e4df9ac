"""Geometry of spring networks: a triangular lattice with displaced nodes, free or periodic."""

from typing import NamedTuple

import numpy as np

HEIGHT = np.sqrt(3) / 2
"""Distance of neighbouring rows of a triangular lattice with unit spacing."""


class Graph(NamedTuple):
    """Nodes and bonds in the plane, in float64."""

    positions: np.ndarray
    """[nodes, 2]"""
    ends: np.ndarray
    """Indices of both nodes of a bond, [bonds, 2]."""
    vectors: np.ndarray
    """From the first node of a bond to the second, across the boundary if periodic: [bonds, 2]."""
    area: float
    """Of the periodic cell, or of a free lattice's nodes."""

    @property
    def lengths(self) -> np.ndarray:
        """Return the lengths of the bonds, [bonds]."""
        return np.linalg.norm(self.vectors, axis=1)

    @property
    def directions(self) -> np.ndarray:
        """Return the unit vectors of the bonds, [bonds, 2]."""
        return self.vectors / self.lengths[:, None]

    def incidence(self) -> np.ndarray:
        """Return -1 at the first node of a bond, 1 at the second, 0 elsewhere: [bonds, nodes]."""
        matrix = np.zeros((len(self.ends), len(self.positions)))
        rows = np.arange(len(self.ends))
        matrix[rows, self.ends[:, 0]] -= 1
        matrix[rows, self.ends[:, 1]] += 1
        return matrix

    def extensions(self) -> np.ndarray:
        """Return the matrix from displacements to extensions of the bonds, [bonds, 2 nodes].

        The extension to first order is n . (u_j - u_i); displacements are ordered node by node.
        """
        matrix = self.incidence()[:, :, None] * self.directions[:, None, :]
        return matrix.reshape(len(self.ends), -1)


def triangular(size: int, disorder: float, seed: int, *, periodic: bool) -> Graph:
    """Return size rows of size nodes, with nodes displaced uniformly within a disc.

    disorder is the radius of the disc in units of the spacing. Every second row is shifted by half
    a spacing; a periodic lattice needs an even size.
    """
    column, row = (a.ravel() for a in np.meshgrid(np.arange(size), np.arange(size)))
    regular = np.stack([column + row % 2 / 2, HEIGHT * row], axis=1)
    random = np.random.default_rng(seed)
    radius = disorder * np.sqrt(random.uniform(size=size**2))
    angle = random.uniform(0, 2 * np.pi, size=size**2)
    shift = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ends, vectors = [], []
    for right, up in ((1, 0), (0, 1), (-1, 1)):
        # The neighbours above an odd row lie one column further to the right.
        there = (column + right + up * (row % 2), row + up)
        inside = (there[0] >= 0) & (there[0] < size) & (there[1] < size)
        other = there[1] % size * size + there[0] % size
        vector = np.array([right + up / 2, HEIGHT * up]) + shift[other] - shift
        keep = np.full(size**2, True) if periodic else inside
        ends.append(np.stack([np.arange(size**2), other], axis=1)[keep])
        vectors.append(vector[keep])
    ends, vectors = np.concatenate(ends), np.concatenate(vectors)
    return Graph(regular + shift, ends, vectors, HEIGHT * size**2)


def boundary_bonds(graph: Graph) -> np.ndarray:
    """Return the bonds on the boundary of a free lattice, anticlockwise from the middle below.

    Such a bond is a side of one triangle, others are of two. Bonds at a node with two bonds are
    left out: they are never stretched, as their tensions have to cancel.
    """
    nodes = len(graph.positions)
    adjacent = np.zeros((nodes, nodes), int)
    adjacent[graph.ends[:, 0], graph.ends[:, 1]] = 1
    adjacent += adjacent.T
    first, second = graph.ends.T
    triangles = (adjacent @ adjacent)[first, second]
    loose = (adjacent.sum(axis=0) == 2)[graph.ends].any(axis=1)
    bonds = np.flatnonzero((triangles == 1) & ~loose)
    middle = graph.positions[graph.ends[bonds]].mean(axis=1) - graph.positions.mean(axis=0)
    turn = np.arctan2(middle[:, 1], middle[:, 0]) + np.pi / 2
    # A middle within half a bond of straight below counts as the first.
    width = np.pi / len(bonds)
    return bonds[np.argsort((turn + width) % (2 * np.pi))]
