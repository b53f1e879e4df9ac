"""Sizes of a spectral-power update, and estimates of the operations and bytes of its parts."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from physopt.numerics.dense_layers import find_dense_layers
from physopt.objective import Objective, flatten
from physopt.optimizers.spectral.decomposition import Spectrum
from physopt.problem import Batch, Linearizes
from physopt.rule import Parameters

KRYLOV_STEPS = 30
KRYLOV_STEPS_OF_FIELDS = 8
"""For samples of more than FIELD outputs: each step costs two sweeps of network and physics."""
FIELD = 1000


class Size(NamedTuple):
    """The sizes that the cost of a method depends on."""

    batch: int
    outputs: int  # |y|
    unknowns: int  # |x|
    parameters: int  # P
    layers: tuple[tuple[int, int, int], ...]  # positions, inputs, outputs of each dense layer
    explicit: int  # parameters of all other layers
    linearizes: bool  # the physics gives dy/dx at the cost of a gradient
    itemsize: int
    steps: int  # of the Krylov method
    limit: float  # bytes
    spectrum: Spectrum = Spectrum()

    @property
    def n(self) -> int:
        """Number of outputs of the batch."""
        return self.batch * self.outputs


def measure(
    objective: Objective,
    params: Parameters,
    batch: Batch,
    steps: int | None,
    limit: float,
    spectrum: Spectrum,
) -> Size:
    """Read the sizes from shapes, without computing anything; steps of None depend on the size."""
    x = jax.eval_shape(objective.predict, params, batch.inputs)
    unknowns = jax.eval_shape(flatten, x).shape[1]
    outputs = jax.eval_shape(flatten, objective.output_shapes(x, batch)).shape[1]

    if steps is None:
        steps = KRYLOV_STEPS_OF_FIELDS if outputs > FIELD else KRYLOV_STEPS

    def predict(params: Parameters, sample: Batch) -> Array:
        alone = jax.tree.map(lambda leaf: leaf[None], sample)
        return flatten(objective.predict(params, alone.inputs))[0]

    dense = find_dense_layers(predict, params, batch)
    leaves = jax.tree.leaves(params)
    layers = [
        (layer.positions, leaves[layer.kernel].size // max(1, layer.width), layer.width)
        for layer in dense.layers
    ]
    return Size(
        len(batch), outputs, unknowns, sum(leaf.size for leaf in leaves), tuple(layers),
        sum(leaves[i].size for i in dense.explicit), isinstance(objective.problem, Linearizes),
        jnp.result_type(*leaves).itemsize, min(steps, len(batch) * outputs), limit, spectrum,
    )  # fmt: skip


def sweep_operations(size: Size, network: float, physics: float) -> float:
    """Operations of pulling `network` and `physics` samples back through either; the physics is
    assumed to take 100 per unknown and output.
    """
    dense = sum(t * i * o for t, i, o in size.layers)
    return network * 4 * (dense + size.explicit) + physics * 100 * size.unknowns * size.outputs


def layer_operations(size: Size) -> float:
    """Operations of the layerwise Gram matrix from its factors."""
    pairs = sum(min(t * t * (i + o), i * o) for t, i, o in size.layers)
    return 2.0 * size.n**2 * (pairs + size.explicit)


def factor_bytes(size: Size) -> float:
    """Bytes of the factors of the layerwise Gram matrix, and of the matrix."""
    slopes = size.n * sum(t * o for t, _, o in size.layers)
    return (3 * slopes + size.n * size.explicit) * (size.itemsize + 8) + 40 * size.n**2


def row_bytes(size: Size, pieces: int) -> float:
    """Bytes of the rows of J, in the run's type and in float64, and of the Gram matrix."""
    entries = size.n / pieces * size.parameters
    # In one piece, only blocks of columns are cast at a time.
    cast = min(entries, 2**25) if pieces == 1 else entries
    return 2 * (size.itemsize * entries + 8 * cast) + 40 * size.n**2


def row_pieces(size: Size) -> int:
    """Return the least number of pieces of the batch whose rows stay within the limit."""
    divisors = (k for k in range(1, size.batch + 1) if size.batch % k == 0)
    return next((k for k in divisors if row_bytes(size, k) <= size.limit), size.batch)


def pulled_samples(size: Size, otherwise: float) -> float:
    """Samples pulled back through the physics: each once if the physics has its own dy/dx."""
    return size.batch if size.linearizes else otherwise
