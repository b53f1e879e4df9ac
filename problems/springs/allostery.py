"""Allostery: stretch one bond of a spring network, and prescribe the strain of others."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.problems.springs.graph import Graph, boundary_bonds, triangular
from physopt.problems.springs.options import FixedLattice
from physopt.problems.springs.response import (
    Network,
    coupled_gradient,
    free_state,
    nudged_gradient,
    product,
    state_and_response,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Springs(FixedLattice):
    """Choose stiffnesses that make distant bonds of a network respond to a stretched one.

    The nodes of a free, disordered triangular lattice are joined by springs of stiffness
    k_b = R^tanh(x_b), with the energy 1/2 sum_b k_b e_b^2; e_b is the extension of bond b to first
    order in the displacements. The source, a bond in the middle of the lower boundary, has unit
    strain; all other nodes move to the minimum of the energy. x [batch, bonds]; y and y*
    [batch, targets] are the strains of bonds spread over the boundary. y* is uniform in
    [-strain, strain], while equal springs give about 0.01. Loss 1/2 |y - y*|^2;
    strain_error = |y - y*| / |y*|. Lattice, sizes and ranges are choices of this project.

    The exact gradient is known. `eqprop` and `coupled` use two states of the network instead, and
    their bias in the nudge can be measured (runs/springs_bias.py).
    Source: M. Stern, D. Hexner, J. W. Rocks, A. J. Liu, Phys. Rev. X 11, 021045 (2021),
    doi 10.1103/PhysRevX.11.021045.
    """

    targets: PositiveInt = 5
    """Bonds on the boundary with a wanted strain, in addition to the source."""

    strain: PositiveFloat = 0.2
    """Largest wanted strain, relative to the source's."""

    target: ClassVar = ("strain_error", 0.05)
    tiny: ClassVar = {"size": 4, "targets": 2, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 16, "steps": 1000, "log_every": 50}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw wanted strains y* [batch, targets], uniform in [-strain, strain]."""
        unit = jax.vmap(lambda key: jax.random.uniform(key, (self.targets,), minval=-1.0))(keys)
        return Batch(inputs=unit, target=self.strain * unit)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, wanted strains [batch, targets] -> x [batch, bonds]."""
        return self.dense(self.targets, len(self.graph().ends), rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return equal springs, x = 0 [batch, bonds]."""
        shape = (len(batch), len(self.graph().ends))
        return jnp.zeros(shape, batch.target.dtype)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the strains of the targets: x [batch, bonds] -> [batch, targets]."""
        system = self.system(x.dtype)
        return product(self.states(x), system.outputs.T)

    def states(self, x: jax.Array) -> jax.Array:
        """Return the extensions of all bonds, [batch, bonds]."""
        return jax.vmap(partial(free_state, self.system(x.dtype)))(self.stiffness(x))

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx [batch, targets, bonds].

        dy_t/dk_b = -e_b d_bt, with d_bt the extension of bond b due to a unit force on target t.
        """
        system = self.system(x.dtype)
        stiffness, pull = jax.vjp(self.stiffness, x)
        (slope,) = pull(jnp.ones_like(stiffness))  # diagonal, since k_b depends on x_b alone
        extension, response = jax.vmap(partial(state_and_response, system))(stiffness)
        jacobian = -jnp.swapaxes(response, 1, 2) * (extension * slope)[:, None]
        return product(extension, system.outputs.T), jacobian

    def estimate_gradient_equilibrium(
        self, x: jax.Array, batch: Batch, key: jax.Array, nudge: float
    ) -> jax.Array:
        """Return dL/dx of the mean loss from the states at +nudge and -nudge, [batch, bonds]."""
        estimate = partial(nudged_gradient, self.system(x.dtype), nudges=(nudge, -nudge))
        return self._pulled(estimate, x, batch)

    def estimate_gradient_coupled(
        self, x: jax.Array, batch: Batch, key: jax.Array, nudge: float
    ) -> jax.Array:
        """Return the step of coupled learning in x, [batch, bonds], in place of dL/dx."""
        return self._pulled(partial(coupled_gradient, self.system(x.dtype), nudge=nudge), x, batch)

    def _pulled(
        self, estimate: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array, batch: Batch
    ) -> jax.Array:
        """Return the mean loss's dL/dx from dL/dk of each sample, estimate(k, y*)."""
        stiffness, pull = jax.vjp(self.stiffness, x)
        return pull(jax.vmap(estimate)(stiffness, batch.target) / len(x))[0]

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |y - y*| / |y*|."""
        wanted = jnp.linalg.norm(batch.target, axis=1)
        return {"strain_error": jnp.linalg.norm(y - batch.target, axis=1) / wanted}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw the networks with equal and designed springs, and the strains of the targets."""
        from physopt.problems.springs.picture import draw_networks

        x, graph, (source, targets) = jnp.asarray(x), self.graph(), self.ports()
        equal = jnp.zeros_like(x)
        strains = [self.states(a) / graph.lengths for a in (equal, x)]
        names = [str(k) for k in range(1, self.targets + 1)]
        outputs = (self.simulate(equal, batch), y, batch.target)
        stiffness = [self.stiffness(a) for a in (equal, x)]
        return draw_networks(
            graph, stiffness, strains, outputs, names, 0.3, ([source], list(targets))
        )

    def graph(self) -> Graph:
        """Return the lattice."""
        return triangular(self.size, self.disorder, self.lattice_seed, periodic=False)

    def ports(self) -> tuple[int, np.ndarray]:
        """Return the source and the targets, evenly spaced along the boundary."""
        bonds = boundary_bonds(self.graph())
        places = np.arange(1, self.targets + 1) * len(bonds) // (self.targets + 1)
        return int(bonds[0]), bonds[places]

    def system(self, dtype: Any) -> Network:
        """Return the network with its source stretched by unit strain.

        Both nodes of the source are clamped. This removes the rigid motions as well: the network
        exerts no force across the bond, since its forces are in balance.
        """
        graph, (source, targets) = self.graph(), self.ports()
        extensions, ends = graph.extensions(), graph.ends[source]
        clamped = (2 * ends[:, None] + np.arange(2)).ravel()
        half = graph.vectors[source] / 2
        imposed = extensions[:, clamped] @ np.concatenate([-half, half])
        outputs = np.zeros((len(targets), len(extensions)))
        outputs[np.arange(len(targets)), targets] = 1 / graph.lengths[targets]
        free = np.delete(extensions, clamped, axis=1)
        return Network(*(jnp.asarray(a, dtype) for a in (free, imposed, outputs)))
