"""Networks: the flax nnx modules that predict the unknowns of problems.

Normalisation is per sample (group norm) by default: batch norm couples the samples of a batch, and
rules that need one Jacobian per sample refuse it.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

Normalization = Literal["none", "group", "batch"]
Activation = Literal["relu", "tanh", "gelu", "silu", "sigmoid"]

# Module-level functions, not lambdas made in a constructor: jit compares the network's graph to
# find a compiled program, and two lambdas are never equal.
_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "sigmoid": jax.nn.sigmoid,
}


class Dense(nnx.Module):
    """Fully connected network [batch, sizes[0]] -> [batch, sizes[-1]], with a linear last layer."""

    def __init__(
        self,
        sizes: Sequence[int],
        rngs: nnx.Rngs,
        activation: Activation = "tanh",
        normalization: Normalization = "none",
        bias_scale: float = 0.0,
    ):
        """`bias_scale` is the standard deviation of the last layer's initial bias. A bias that
        differs between outputs breaks the symmetry of a problem with equivalent sites.
        """
        pairs = list(itertools.pairwise(sizes))
        last = nnx.initializers.normal(bias_scale) if bias_scale else nnx.initializers.zeros_init()
        self.layers = nnx.List(
            [nnx.Linear(m, n, rngs=rngs) for m, n in pairs[:-1]]
            + [nnx.Linear(*pairs[-1], bias_init=last, rngs=rngs)]
        )
        self.norms = nnx.List([normalization_layer(normalization, n, rngs) for _, n in pairs[:-1]])
        self.activation = _ACTIVATIONS[activation]

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        z = inputs
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            z = self.activation(norm(layer(z)))
        return self.layers[-1](z)


class Identity(nnx.Module):
    """No normalisation."""

    def __call__(self, z: jax.Array) -> jax.Array:
        """Return z."""
        return z


def normalization_layer(kind: Normalization, features: int, rngs: nnx.Rngs) -> nnx.Module:
    """Make a normalisation over the last axis of size `features`.

    Batch norm keeps the statistics of one batch (momentum 0): they are measured again for every
    evaluation, with the parameters that are evaluated.
    """
    if kind == "group":
        groups = max(k for k in (8, 4, 2, 1) if features % k == 0)
        return nnx.GroupNorm(features, num_groups=groups, rngs=rngs)
    if kind == "batch":
        return nnx.BatchNorm(features, momentum=0.0, rngs=rngs)
    return Identity()
