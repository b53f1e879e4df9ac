"""Options that the spring problems share: lattice, range of stiffness, network."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import Bounds, NonNegativeInt, PositiveInt
from physopt.problem import Problem


@dataclasses.dataclass(frozen=True)
class SpringOptions(Problem):
    """A triangular lattice of springs whose stiffnesses are the unknowns: k_b = R^tanh(x_b)."""

    size: Annotated[int, Bounds(4)] = 8
    """Nodes in a row, and rows; even where the lattice is periodic."""

    disorder: Annotated[float, Bounds(0, 0.25)] = 0.2
    """Largest displacement of a node from the triangular lattice, in units of its spacing."""

    stiffness_range: Annotated[float, Bounds(1)] = 10.0
    """R: stiffnesses are between 1/R and R; float32 suffices up to about 30."""

    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the network's hidden layers."""

    def stiffness(self, x: jax.Array) -> jax.Array:
        """Return k = R^tanh(x), in the unit of a spring at x = 0."""
        return jnp.exp(np.log(self.stiffness_range) * jnp.tanh(x))

    def dense(self, inputs: int, bonds: int, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, [batch, inputs] -> x [batch, bonds]."""
        return initialize(Dense((inputs, *self.hidden, bonds), rngs), rngs, "glorot")


@dataclasses.dataclass(frozen=True)
class FixedLattice(SpringOptions):
    """Spring options for one lattice, the same in all samples."""

    lattice_seed: NonNegativeInt = 0
    """Seed of the displacements of the nodes."""
