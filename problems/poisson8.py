"""Poisson's equation on 8x8 cells, with the potential as the unknown."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import Bounds, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fields import inverse_laplacian, laplacian, random_field


@dataclasses.dataclass(frozen=True)
class Poisson8(Problem):
    """Find the potential of a charge density: y = laplacian(x), zero outside the grid.

    x [batch, n, n] is the potential, y and y* [batch, n, n] densities, with unit spacing. True
    potentials are smooth random fields with unit standard deviation. Loss 1/2 sum (y - y*)^2,
    averaged over the batch, where the source sums; x_l1 = sum |x - true potential|.

    Source: P. Schnell, P. Holl, N. Thuerey, arXiv 2203.10131, section 3.2.
    """

    size: Annotated[int, Bounds(2)] = 8
    """Cells along each side."""

    hidden: tuple[PositiveInt, ...] = (64, 256, 64)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("x_l1", 5.0)
    tiny: ClassVar = {"size": 4, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 16, "steps": 2000, "log_every": 50}
    # At losses of 10^2 to 10^7 plain descent diverges within a few steps. A random step of 0.01 in
    # every weight changes the Laplacian by more than 100 %: the loss of other samples grows while
    # that of the batch falls.
    rule_defaults: ClassVar = {
        "sgd": {"clip_norm": 1.0},
        "muon": {"learning_rate": 2e-3},
        "open_es": {"learning_rate": 1e-3},
    }

    def sample(self, keys: jax.Array) -> Batch:
        """Draw densities [batch, n, n]; extra holds their potentials."""
        potential = jax.vmap(lambda key: random_field(key, (self.size, self.size)))(keys)
        density = laplacian(potential)
        return Batch(inputs=density, target=density, extra=potential)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, density [batch, n, n] -> potential [batch, n, n]."""
        return DenseField(self.size, self.hidden, rngs)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the five-point Laplacian: [batch, n, n] -> [batch, n, n]."""
        return laplacian(x)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Solve for the potential, exactly."""
        return x + inverse_laplacian(batch.target - laplacian(x))

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the distance to the true potential."""
        return {"x_l1": jnp.sum(jnp.abs(x - batch.extra), axis=(1, 2))}


class DenseField(nnx.Module):
    """Dense tanh network between fields [batch, n, n]."""

    def __init__(self, size: int, hidden: tuple[int, ...], rngs: nnx.Rngs):
        cells = size * size
        self.dense = initialize(Dense((cells, *hidden, cells), rngs), rngs, "glorot")

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        return self.dense(inputs.reshape(inputs.shape[0], -1)).reshape(inputs.shape)
