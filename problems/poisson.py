"""Poisson's equation on 64x64 cells, with the source as the unknown."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks.fno import FourierOperator
from physopt.networks.unet import UNetOptions
from physopt.options import Bounds
from physopt.problem import Batch, Problem
from physopt.problems.fields import (
    LARGE_OUTPUT,
    inverse_laplacian,
    laplacian,
    random_field,
    relative_l2,
    squared_norms,
)


@dataclasses.dataclass(frozen=True)
class Poisson(UNetOptions, Problem):
    """Find the source of a potential: laplacian(y) = x, y zero outside the grid.

    x [batch, n, n] is the source, y and y* [batch, n, n] potentials, with unit spacing. True
    sources are smooth random fields with unit standard deviation; potentials have one of about 14
    at n = 64. Loss 1/2 sum (y - y*)^2. x_l1 = sum |x - true source| over the cells, the metric of
    the paper; x_error = |x - true source| / |true source| of a sample, and x_relative_l2 the same
    over a whole set, sqrt(sum |x - true source|^2 / sum |true source|^2). The loss weights fine
    structure of x up to 10^6 times less than coarse structure; the inverse step weights both
    equally.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048, section 4.2.
    """

    size: Annotated[int, Bounds(8)] = 64
    """Cells along each side."""

    target: ClassVar = ("x_error", 0.25)
    tiny: ClassVar = {"size": 8, "levels": 2, "filters": 4}
    defaults: ClassVar = {"batch_size": 16, "steps": 500, "log_every": 25}
    rule_defaults: ClassVar = {
        "sgd": {"clip_norm": 1.0},  # plain descent diverges within a few steps
        **LARGE_OUTPUT,
    }

    def sample(self, keys: jax.Array) -> Batch:
        """Draw potentials [batch, n, n]; extra holds their sources."""
        source = jax.vmap(lambda key: random_field(key, (self.size, self.size)))(keys)
        potential = inverse_laplacian(source)
        return Batch(inputs=potential, target=potential, extra=source)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a U-net, potential [batch, n, n] -> source [batch, n, n]."""
        return self.unet(1, 1, rngs)

    def network_fno(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a Fourier neural operator of the source's size."""
        return FourierOperator(rngs)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Solve Poisson's equation by sine transforms: [batch, n, n] -> [batch, n, n]."""
        return inverse_laplacian(x)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x - laplacian(P(x) - y*): the true source, whatever x is."""
        return x - laplacian(self.simulate(x, batch) - batch.target)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return absolute and relative distance to the true source."""
        difference = x - batch.extra
        norm, wanted = (jnp.linalg.norm(a, axis=(1, 2)) for a in (difference, batch.extra))
        return {"x_l1": jnp.sum(jnp.abs(difference), axis=(1, 2)), "x_error": norm / wanted}

    def set_terms(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the squared norms of x - true source and of true source."""
        return squared_norms(x - batch.extra, batch.extra)

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the relative L2 error of x over a set."""
        return {"x_relative_l2": relative_l2(terms)}
