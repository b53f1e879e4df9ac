"""Elasticity of a periodic spring network: prescribe its elastic tensor or its Poisson ratios."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.numerics.linalg import HIGHEST
from physopt.options import NonNegativeFloat, OptionError
from physopt.problem import Batch
from physopt.problems.springs.graph import Graph, triangular
from physopt.problems.springs.options import FixedLattice
from physopt.problems.springs.response import Network, free_state

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPONENTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Independent components of a symmetric 3 x 3 matrix."""

UNIFORM = np.sqrt(3) / 4 * np.array([[3, 1, 0], [1, 3, 0], [0, 0, 1]])
"""Elastic tensor of a triangular lattice with unit springs."""


def components(tensor: jax.Array) -> jax.Array:
    """Return the independent components, [..., 3, 3] -> [..., 6]."""
    return jnp.stack([tensor[..., i, j] for i, j in COMPONENTS], axis=-1)


def poisson_ratios(tensor: jax.Array) -> jax.Array:
    """Return -strain_yy / strain_xx under a tension along x, and the reverse: [..., 2]."""
    compliance = jnp.linalg.inv(tensor)
    across = compliance[..., 0, 1]
    return -jnp.stack([across / compliance[..., 0, 0], across / compliance[..., 1, 1]], axis=-1)


OBSERVABLES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "tensor": components,
    "poisson_ratio": poisson_ratios,
}
"""What y is, a function of the elastic tensor [..., 3, 3]."""

NAMES = {
    "tensor": [f"$C_{{{i + 1}{j + 1}}}$" for i, j in COMPONENTS],
    "poisson_ratio": [r"$\nu_{xy}$", r"$\nu_{yx}$"],
}


@dataclasses.dataclass(frozen=True)
class SpringsElastic(FixedLattice):
    """Choose the stiffnesses of a periodic spring network that give it a wanted elasticity.

    The lattice of the problem `springs`, repeated periodically, under the strains eps_xx, eps_yy
    and gamma_xy = 2 eps_xy: bond b from node i to j has the extension
    e_b = n . (u_j - u_i) + l_b n . eps n, and the displacements u minimise 1/2 sum_b k_b e_b^2. The
    minimum is area/2 eps^T C eps, with the elastic tensor C [3, 3] in Voigt's notation.
    x [batch, bonds] gives k_b = R^tanh(x_b). For observable=tensor, y and y* [batch, 6] are C_11,
    C_22, C_33, C_12, C_13, C_23; for observable=poisson_ratio they are [batch, 2], nu_xy and nu_yx
    under tension along x and y. y* belongs to random stiffnesses, so a solution exists.
    Loss 1/2 |y - y*|^2; elastic_error = |y - y*| / |y*|.

    dC_ij/dk_b = e_bi e_bj / area, with e_bi the extension under unit strain i. Sizes and ranges are
    choices of this project.
    Source of the aim: M. Zu, C. P. Goodrich, Commun. Mater. 5 (2024), arXiv 2404.15101, where
    the Poisson ratio of a packing of particles is set by their interactions.
    """

    observable: Literal["tensor", "poisson_ratio"] = "tensor"
    """tensor: all six components; poisson_ratio: both ratios, whatever the stiffness."""

    anisotropy: NonNegativeFloat = 0.7
    """Deviation of x between the three directions of bonds in the networks that give y*."""

    variation: NonNegativeFloat = 0.7
    """Deviation of x between bonds of one direction in these networks."""

    target: ClassVar = ("elastic_error", 0.05)
    tiny: ClassVar = {"size": 4, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 16, "steps": 1000, "log_every": 50}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % 2:
            raise OptionError(type(self), "size", self.size, "a periodic lattice has an even size")

    def sample(self, keys: jax.Array) -> Batch:
        """Draw y* [batch, 6] or [batch, 2], those of random stiffnesses."""

        def unknowns(key: jax.Array) -> jax.Array:
            of_direction, of_bond = jax.random.split(key)
            direction = self.anisotropy * jax.random.normal(of_direction, (3,))
            bond = self.variation * jax.random.normal(of_bond, (3, self.size**2))
            return (direction[:, None] + bond).ravel()

        target = self._observed(self.tensor(jax.vmap(unknowns)(keys)))
        uniform = self._observed(jnp.asarray(UNIFORM, target.dtype))
        return Batch(inputs=target - uniform, target=target)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, y* minus that of equal springs -> x [batch, bonds]."""
        inputs = self._observed(jnp.asarray(UNIFORM)).shape[0]
        return self.dense(inputs, 3 * self.size**2, rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return equal springs, x = 0 [batch, bonds]."""
        return jnp.zeros((len(batch), 3 * self.size**2), batch.target.dtype)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the observed elasticity: x [batch, bonds] -> [batch, 6] or [batch, 2]."""
        return self._observed(self.tensor(x))

    def tensor(self, x: jax.Array) -> jax.Array:
        """Return C [batch, 3, 3], in units of the stiffness of a spring at x = 0."""
        return self._tensor(self.stiffness(x), self.states(x))

    def states(self, x: jax.Array) -> jax.Array:
        """Return the extensions of all bonds under the three unit strains, [batch, bonds, 3]."""
        return jax.vmap(partial(free_state, self.system(x.dtype)))(self.stiffness(x))

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx [batch, |y|, bonds] from the states alone."""
        stiffness, pull = jax.vjp(self.stiffness, x)
        (slope,) = pull(jnp.ones_like(stiffness))  # diagonal, since k_b depends on x_b alone
        extension = self.states(x)
        tensor = self._tensor(stiffness, extension)
        of_tensor = jax.vmap(jax.jacrev(self._observed))(tensor)
        area = self.graph().area
        pulled = jnp.einsum("byij,bki,bkj->byk", of_tensor, extension, extension, precision=HIGHEST)
        return self._observed(tensor), pulled * slope[:, None] / area

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |y - y*| / |y*|."""
        wanted = jnp.linalg.norm(batch.target, axis=1)
        return {"elastic_error": jnp.linalg.norm(y - batch.target, axis=1) / wanted}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw the networks with equal and with designed springs, stretched along x, and y."""
        from physopt.problems.springs.picture import draw_networks

        x, graph = jnp.asarray(x), self.graph()
        equal = jnp.zeros_like(x)
        strains = [self.states(a)[:, :, 0] / graph.lengths for a in (equal, x)]
        outputs = (self.simulate(equal, batch), y, batch.target)
        stiffness = [self.stiffness(a) for a in (equal, x)]
        return draw_networks(graph, stiffness, strains, outputs, NAMES[self.observable], 1.0)

    def graph(self) -> Graph:
        """Return the periodic lattice."""
        return triangular(self.size, self.disorder, self.lattice_seed, periodic=True)

    def system(self, dtype: Any) -> Network:
        """Return the network under the three unit strains; node 0 is held in place."""
        return under_strain(self.graph(), dtype)

    def _observed(self, tensor: jax.Array) -> jax.Array:
        return OBSERVABLES[self.observable](tensor)

    def _tensor(self, stiffness: jax.Array, extension: jax.Array) -> jax.Array:
        energy = jnp.einsum("bk,bki,bkj->bij", stiffness, extension, extension, precision=HIGHEST)
        return energy / self.graph().area


def under_strain(graph: Graph, dtype: Any) -> Network:
    """Return a periodic network under unit strains eps_xx, eps_yy, gamma_xy; without outputs."""
    return strained(*(jnp.asarray(a, dtype) for a in (graph.incidence(), graph.vectors)))


def strained(incidence: jax.Array, vectors: jax.Array) -> Network:
    """Return `under_strain` of bonds [bonds, 2] with the incidence matrix [bonds, nodes]."""
    lengths = jnp.linalg.norm(vectors, axis=1)
    normal = vectors / lengths[:, None]
    affine = (normal[:, 0] ** 2, normal[:, 1] ** 2, normal[:, 0] * normal[:, 1])
    imposed = lengths[:, None] * jnp.stack(affine, axis=1)
    free = (incidence[:, 1:, None] * normal[:, None, :]).reshape(len(vectors), -1)
    return Network(free, imposed, jnp.zeros((0, len(vectors)), vectors.dtype))
