"""Elastic tensors of spring networks, learnt from their structure."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.equivariant import PlanarTensorField
from physopt.networks.equivariant_3d import SpatialTensorField, planar_part
from physopt.networks.unet import initialize
from physopt.numerics.linalg import HIGHEST
from physopt.options import NonNegativeFloat, OptionError, PositiveInt
from physopt.problem import Batch
from physopt.problems.springs.elastic import strained
from physopt.problems.springs.graph import Graph, triangular
from physopt.problems.springs.options import SpringOptions
from physopt.problems.springs.response import Network, free_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STRAINS = np.array([[1, 1, 0], [1, -1, 0], [0, 0, 2]]) / np.sqrt(2)
"""(eps_xx, eps_yy, gamma_xy) of three orthonormal strains: of the area, and two shears."""

ORDERS = (0, 0, 2, 4)
"""Orders of the harmonics of an elastic tensor."""

NAMES = ["$C^0$", "$C^{0'}$", "Re $C^2$", "Im $C^2$", "Re $C^4$", "Im $C^4$"]


def harmonics(tensor: jax.Array) -> jax.Array:
    """Return the harmonics of an elastic tensor, Voigt's [..., 3, 3] -> [..., 6].

    They are C^0 and C^0' (bulk and shear modulus of an isotropic tensor, times 2 and 2 sqrt(2)),
    real and imaginary part of C^2, and those of C^4. A rotation by a multiplies C^m by exp(i m a).
    The sum of their squares is C_ijkl C_ijkl.
    """
    c = jnp.einsum("ia,...ij,jb->...ab", STRAINS, tensor, STRAINS, precision=HIGHEST)
    root = np.sqrt(2)
    return jnp.stack(
        [
            c[..., 0, 0],
            (c[..., 1, 1] + c[..., 2, 2]) / root,
            root * c[..., 0, 1],
            root * c[..., 0, 2],
            (c[..., 1, 1] - c[..., 2, 2]) / root,
            root * c[..., 1, 2],
        ],
        axis=-1,
    )


@dataclasses.dataclass(frozen=True)
class SpringsTensor(SpringOptions):
    """Learn the elastic tensor of a periodic spring network from its structure: y = x.

    In every sample the nodes of a triangular lattice have other displacements, and the bonds other
    stiffnesses. Inputs [batch, bonds, 3] are the components of each bond's vector and ln k. x, y
    and y* [batch, 6] are the harmonics of the tensor C of `springs_elastic`, see `harmonics`: their
    squared error does not depend on the frame. Loss 1/2 |y - y*|^2; elastic_error =
    |y - y*| / |y*|. The physics makes y* alone; there is none to differentiate.

    The test set `rotated` has the same distribution, with each sample turned by a random angle and
    reflected in half of the cases. network=equivariant has the same errors on a sample and on the
    rotated one; network=default, a dense one, must learn rotations from samples, and the lattice of
    the training set is not rotated. network=equivariant_3d is the same network with spherical
    harmonics, by e3nn-jax (`pip install physopt[equivariant]`). The baseline `affine` is the tensor
    without the displacements of nodes relative to the strain, an upper bound of the energy.

    Source: tensor field networks, N. Thomas et al., arXiv 1802.08219. Lattice, ranges and the size
    of networks are choices of this project.
    """

    size: PositiveInt = 4
    """Nodes in a row, and rows; even."""

    anisotropy: NonNegativeFloat = 0.5
    """Deviation of x = artanh(log_R k) between the three directions of bonds."""

    variation: NonNegativeFloat = 0.5
    """Deviation of x between bonds of one direction."""

    channels: PositiveInt = 8
    """Features of each order of the equivariant networks."""

    layers: PositiveInt = 2
    """Interactions between neighbours in the equivariant networks."""

    target: ClassVar = ("elastic_error", 0.05)
    test_sets: ClassVar = ("rotated",)
    tiny: ClassVar = {"size": 2, "hidden": (8,), "channels": 2, "layers": 1}
    defaults: ClassVar = {"batch_size": 16, "steps": 2000, "log_every": 100, "heldout_size": 256}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2:
            raise OptionError(type(self), "size", self.size, "a periodic lattice has an even size")

    def sample(self, keys: jax.Array) -> Batch:
        """Draw structures, and calculate their tensors."""
        return self.solved(*jax.vmap(self._structure)(keys))

    def test_set(self, name: str, keys: jax.Array) -> Batch:
        """Draw structures that are turned and reflected."""
        split = jax.vmap(jax.random.split)(keys)
        vectors, log_stiffness = jax.vmap(self._structure)(split[:, 0])
        return self.solved(vectors @ jax.vmap(_orthogonal)(split[:, 1]), log_stiffness)

    def solved(self, vectors: jax.Array, log_stiffness: jax.Array) -> Batch:
        """Return structures with their tensors: vectors [batch, bonds, 2], ln k [batch, bonds]."""
        inputs = jnp.concatenate([vectors, log_stiffness[..., None]], axis=-1)
        return Batch(inputs, self._observed(inputs, jax.vmap(free_state)))

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network of all vectors' deviations and all ln k."""
        graph = self.graph()
        inner = initialize(Dense((3 * len(graph.ends), *self.hidden, 6), rngs), rngs, "glorot")
        return _OfAllBonds(inner, graph.vectors)

    def network_equivariant(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a network that commutes with rotations and reflections of the plane."""
        return _OfBonds(
            PlanarTensorField(
                self.graph().ends, 2, ORDERS, rngs, channels=self.channels, layers=self.layers
            )
        )

    def network_equivariant_3d(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the same network with spherical harmonics. Raises OptionError without e3nn-jax."""
        return _OfBonds(
            _InSpace(
                SpatialTensorField(
                    self.graph().ends, 2, rngs, channels=self.channels, layers=self.layers
                )
            )
        )

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the tensor's harmonics."""
        return x

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |y - y*| / |y*|."""
        error, size = (jnp.linalg.norm(a, axis=1) for a in (y - batch.target, batch.target))
        return {"elastic_error": error / size}

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return the errors of the tensor under a uniform strain of all bonds."""
        y = self._affine(held_out.inputs)
        errors = self.metrics(y, y, held_out)
        return {"affine": {name: float(jnp.mean(error)) for name, error in errors.items()}}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw the structures, and their harmonics beside those of the network."""
        from physopt.problems.springs.picture import draw_structures

        outputs = {"network": y, "true": batch.target, "affine": self._affine(batch.inputs)}
        return draw_structures(self.graph(), batch.inputs, outputs, NAMES)

    def graph(self) -> Graph:
        """Return the lattice without displacements."""
        return triangular(self.size, 0.0, 0, periodic=True)

    def _structure(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw the vectors of the bonds [bonds, 2], and ln k [bonds]."""
        graph = self.graph()
        of_radius, of_angle, of_direction, of_bond = jax.random.split(key, 4)
        radius = self.disorder * jnp.sqrt(jax.random.uniform(of_radius, (self.size**2,)))
        angle = 2 * np.pi * jax.random.uniform(of_angle, (self.size**2,))
        shift = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        first, second = graph.ends.T
        direction = self.anisotropy * jax.random.normal(of_direction, (3,))
        bond = self.variation * jax.random.normal(of_bond, (3, self.size**2))
        log_stiffness = jnp.log(self.stiffness((direction[:, None] + bond).ravel()))
        return jnp.asarray(graph.vectors, shift.dtype) + shift[second] - shift[first], log_stiffness

    def _affine(self, inputs: jax.Array) -> jax.Array:
        return jax.jit(partial(self._observed, states=lambda system, stiffness: system.imposed))(
            jnp.asarray(inputs)
        )

    def _observed(
        self, inputs: jax.Array, states: Callable[[Network, jax.Array], jax.Array]
    ) -> jax.Array:
        """Return the harmonics of structures whose bonds have the extensions states(system, k)."""
        graph = self.graph()
        vectors, stiffness = inputs[..., :2], jnp.exp(inputs[..., 2])
        incidence = jnp.asarray(graph.incidence(), vectors.dtype)
        extension = states(jax.vmap(partial(strained, incidence))(vectors), stiffness)
        energy = jnp.einsum("bk,bki,bkj->bij", stiffness, extension, extension, precision=HIGHEST)
        return harmonics(energy / graph.area)


class _OfAllBonds(nnx.Module):
    """A network of one vector: the deviations of all bonds from the lattice, and all ln k."""

    def __init__(self, inner: nnx.Module, vectors: np.ndarray):
        self.inner, self.vectors = inner, tuple(map(tuple, vectors.tolist()))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        moved = inputs[..., :2] - jnp.asarray(self.vectors, inputs.dtype)
        return self.inner(jnp.concatenate([moved, inputs[..., 2:]], -1).reshape(len(inputs), -1))


class _OfBonds(nnx.Module):
    """A network of a graph's bonds: of their vectors, and of k and ln k."""

    def __init__(self, inner: nnx.Module):
        self.inner = inner

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        vectors, log_stiffness = inputs[..., :2], inputs[..., 2:]
        scalars = jnp.concatenate([jnp.exp(log_stiffness) - 1, log_stiffness], axis=-1)
        return self.inner(vectors, scalars)


class _InSpace(nnx.Module):
    """A network of structures in space, for structures in its plane z = 0."""

    def __init__(self, inner: nnx.Module):
        self.inner = inner

    def __call__(self, vectors: jax.Array, scalars: jax.Array) -> jax.Array:
        """Evaluate the network."""
        in_space = jnp.concatenate([vectors, jnp.zeros_like(vectors[..., :1])], axis=-1)
        return harmonics(planar_part(self.inner(in_space, scalars)))


def _orthogonal(key: jax.Array) -> jax.Array:
    """Draw a rotation or a reflection of the plane, [2, 2]."""
    of_angle, of_side = jax.random.split(key)
    angle = 2 * np.pi * jax.random.uniform(of_angle)
    side = jnp.where(jax.random.bernoulli(of_side), 1.0, -1.0).astype(angle.dtype)
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([c, s]), side * jnp.stack([-s, c])])
