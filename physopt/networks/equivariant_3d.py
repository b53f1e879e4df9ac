"""Tensor field network in space, by e3nn-jax: the extra `equivariant`."""

import importlib.util
import itertools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.equivariant import neighbours
from physopt.numerics.linalg import HIGHEST
from physopt.options import OptionError

if TYPE_CHECKING:
    from e3nn_jax import Irreps, IrrepsArray  # type: ignore[import-not-found]

ELASTIC = "2x0e + 2x2e + 1x4e"
"""Representations of an elastic tensor in space, 21 components."""


def _library() -> Any:
    """Import e3nn-jax. Raises OptionError with the command that installs it."""
    if importlib.util.find_spec("e3nn_jax") is None:
        reason = "needs e3nn-jax, which is not installed: pip install physopt[equivariant]"
        raise OptionError(object, "network", "equivariant_3d", reason)
    import e3nn_jax  # type: ignore[import-not-found]

    return e3nn_jax


class SpatialTensorField(nnx.Module):
    """The elastic tensor of a graph in space, equivariant under O(3).

    vectors [batch, bonds, 3] and scalars [batch, bonds, inputs] are those of
    `physopt.networks.equivariant.PlanarTensorField`; features are spherical harmonics of order 0 to
    4 with the parity of polar vectors, and messages Clebsch-Gordan products with those of the
    bonds' directions, weighted by a dense network of the scalars and the length. The result
    [batch, 3, 3, 3, 3] has the symmetries C_ijkl = C_jikl = C_klij.

    Source: N. Thomas et al., "Tensor field networks", arXiv 1802.08219; e3nn, M. Geiger, T. Smidt,
    arXiv 2207.09453.
    """

    def __init__(
        self,
        ends: np.ndarray,
        inputs: int,
        rngs: nnx.Rngs,
        channels: int = 8,
        layers: int = 2,
        hidden: int = 16,
    ):
        """ends [bonds, 2] are the nodes of each bond, the same in all samples."""
        e3nn = _library()
        self.ends = tuple(map(tuple, np.asarray(ends).tolist()))
        features = e3nn.Irreps([(channels, (k, (-1) ** k)) for k in range(5)])
        irreps = [e3nn.Irreps("0e"), *[features] * layers]
        self.layers = nnx.List(
            [
                SpatialInteraction(m, n, inputs + 1, hidden, rngs)
                for m, n in itertools.pairwise(irreps)
            ]
        )
        self.exit = Mixture(features, e3nn.Irreps(ELASTIC), rngs)

    def __call__(self, vectors: jax.Array, scalars: jax.Array) -> jax.Array:
        """Evaluate the network."""
        e3nn = _library()
        weights, other = neighbours(self.ends)
        both = jnp.concatenate([vectors, -vectors], axis=1)
        length = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        numbers = jnp.concatenate([scalars, length - 1], axis=-1)
        numbers = jnp.concatenate([numbers, numbers], axis=1)
        mean = jnp.asarray(weights, vectors.dtype)
        directions = e3nn.spherical_harmonics(
            range(5), e3nn.IrrepsArray("1o", both), normalize=True
        )
        z = e3nn.IrrepsArray("0e", jnp.ones((len(vectors), len(mean), 1), vectors.dtype))
        for layer in self.layers:
            z = layer(z, directions, numbers, mean, other)
        components = self.exit(z).array.mean(axis=1)
        basis = e3nn.reduced_tensor_product_basis("ijkl=jikl=klij", i="1o")
        if str(basis.irreps) != str(e3nn.Irreps(ELASTIC)):
            raise AssertionError(f"an elastic tensor has the representations {basis.irreps}")
        basis = jnp.asarray(basis.array, vectors.dtype)
        return jnp.einsum("ijklc,bc->bijkl", basis, components, precision=HIGHEST)


class SpatialInteraction(nnx.Module):
    """Messages between neighbours, with gates: representations `inputs` -> `outputs` of nodes."""

    def __init__(
        self, inputs: "Irreps", outputs: "Irreps", scalars: int, hidden: int, rngs: nnx.Rngs
    ):
        e3nn = _library()
        self.outputs = str(outputs)
        products = e3nn.tensor_product(
            inputs, e3nn.Irreps.spherical_harmonics(4), filter_ir_out=[ir for _, ir in outputs]
        )
        gates = outputs.num_irreps - outputs.count("0e")
        gated = (e3nn.Irreps(f"{gates}x0e") + outputs).regroup()
        self.radial = Dense((scalars, hidden, products.num_irreps), rngs)
        self.message = Mixture(products.regroup(), gated, rngs)
        self.keep = Mixture(inputs, gated, rngs)

    def __call__(
        self,
        z: "IrrepsArray",
        directions: "IrrepsArray",
        numbers: jax.Array,
        mean: jax.Array,
        other: np.ndarray,
    ) -> "IrrepsArray":
        """Evaluate the layer. mean [nodes, 2 bonds] averages over the bonds of a node."""
        e3nn = _library()
        wanted = [ir for _, ir in e3nn.Irreps(self.outputs)]
        terms = e3nn.tensor_product(z[:, other], directions, filter_ir_out=wanted)
        terms = (terms * self.radial(numbers)).regroup()
        sums = jnp.einsum("bec,ie->bic", terms.array, mean, precision=HIGHEST)
        mixed = self.message(e3nn.IrrepsArray(terms.irreps, sums)) + self.keep(z)
        return e3nn.gate(mixed, even_act=jnp.tanh, even_gate_act=jax.nn.sigmoid)


class Mixture(nnx.Module):
    """A linear map of the channels of each representation."""

    def __init__(self, inputs: "Irreps", outputs: "Irreps", rngs: nnx.Rngs):
        self.outputs = str(outputs)
        known = {str(ir): mul for mul, ir in inputs}
        self.weights = nnx.Dict(
            {
                str(ir): nnx.Param(
                    jax.random.normal(rngs.params(), (known[str(ir)], mul))
                    / np.sqrt(known[str(ir)])
                )
                for mul, ir in outputs
                if str(ir) in known
            }
        )

    def __call__(self, z: "IrrepsArray") -> "IrrepsArray":
        """Return the map; representations without an input are 0."""
        e3nn = _library()
        chunks = {str(ir): chunk for (_, ir), chunk in zip(z.irreps, z.chunks, strict=True)}
        outputs = e3nn.Irreps(self.outputs)
        mixed = [
            jnp.einsum("bimc,mn->binc", chunks[str(ir)], self.weights[str(ir)][...],
                       precision=HIGHEST)
            if str(ir) in self.weights else None
            for _, ir in outputs
        ]  # fmt: skip
        return e3nn.from_chunks(outputs, mixed, z.shape[:-1], z.dtype)


def planar_part(tensor: jax.Array) -> jax.Array:
    """Return Voigt's matrix of the components in the plane, [batch, 3, 3, 3, 3] -> [..., 3, 3]."""
    pairs = np.array([(0, 0), (1, 1), (0, 1)])
    i, j = pairs.T
    return tensor[:, i[:, None], j[:, None], i, j]
