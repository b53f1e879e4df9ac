"""Variants of training that may lower the error of the network's own rounded designs, in 2D.

    taskset -c 0 python runs/ldft/floor.py seconds=60 [methods=[bank]] [key=value ...]

Each variant changes one thing of Adam with a batch of 4 and trains for the same CPU seconds of this
process, from the same seed. Prints area errors of new targets, without refinement;
`out=runs/ldft/floor.md` writes the table there.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from equal_time import PROBLEM, ComparisonOptions, Method, compare
from flax import nnx

from physopt.optimizers.first_order import Adam
from physopt.problems.ldft.generators import FixedField
from physopt.problems.ldft.named import LDFT2D
from physopt.problems.ldft.relaxation import ROUNDED_FROM, relax
from physopt.script import script

OPTIONS: dict[str, Any] = {
    "misfit": PROBLEM.misfit, "textures": PROBLEM.textures, "optimised_fraction": 0.0,
}  # fmt: skip
BANK = 1000
SAMPLES = 4096
"""Isotherms from which the inputs' mean and principal axes are measured."""


@dataclass(frozen=True)
class RoundedEarly(LDFT2D):
    """Annealing that ends, and rounding that begins, at a given fraction of the budget."""

    rounded_from: float = 0.0

    def matrix(self, x: jax.Array, progress: jax.Array) -> jax.Array:
        """Return pore fractions eta [batch, *lattice] in [0, 1]."""
        early = ROUNDED_FROM * progress / self.rounded_from if self.rounded_from else ROUNDED_FROM
        progress = jnp.clip(early, progress, 1.0)
        return relax(x, progress, self.relaxation, self.slope_sharpness)


@dataclass(frozen=True)
class NoisyRounding(LDFT2D):
    """Rounding of x + noise in training; the noise vanishes at the end of the budget."""

    noise: float = 0.1

    def matrix(self, x: jax.Array, progress: jax.Array) -> jax.Array:
        """Return pore fractions eta [batch, *lattice] in [0, 1]."""
        # The progress differs between updates, and is all that changes with them here.
        bits = jax.lax.bitcast_convert_type(progress[0].astype(jnp.float32), jnp.uint32)
        key = jax.random.fold_in(jax.random.key(0), bits)
        scale = self.noise * (1 - progress[0])
        noisy = x + scale * jax.random.logistic(key, x.shape, x.dtype)
        return relax(noisy, progress, self.relaxation, self.slope_sharpness)


class WhitenedGenerator(nnx.Module):
    """A dense generator of the principal components of isotherms, each of variance about 1."""

    def __init__(self, inner: Any, curves: np.ndarray, smallest: float = 5e-3):
        """`smallest` is added to the standard deviations by which components are divided."""
        mean = curves.mean(axis=0)
        _, s, axes = np.linalg.svd(curves - mean, full_matrices=False)
        scales = s / np.sqrt(len(curves)) + smallest
        self.inner = inner
        self.mean = FixedField(jnp.asarray(mean))
        self.map = FixedField(jnp.asarray(axes.T / scales))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate: [batch, points] -> [batch, *shape]."""
        return self.inner(((inputs + 1) / 2 - self.mean[...]) @ self.map[...])


class BankGenerator(nnx.Module):
    """A bank of matrices, weighted by the distances of their isotherms, plus a dense generator.

    x = sum_k softmax_k(-|y* - y_k|^2 / width^2) (m_k - 1/2) + dense(y*). Isotherms y_k, matrices
    m_k and the width are trained. At first dense(y*) = 0, so that sign(x) is nearly the nearest
    matrix of the bank.
    """

    def __init__(self, inner: Any, curves: np.ndarray, matrices: np.ndarray):
        last = inner.dense.layers[-1]
        for parameter in (last.kernel, last.bias):
            parameter[...] = jnp.zeros_like(parameter[...])
        self.inner = inner
        self.curves = nnx.Param(jnp.asarray(curves))
        self.values = nnx.Param(jnp.asarray(matrices.reshape(len(matrices), -1) - 0.5))
        self.log_width = nnx.Param(jnp.log(jnp.asarray(0.02)))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate: [batch, points] -> [batch, *shape]."""
        difference = (inputs[:, None] + 1) / 2 - self.curves[...]
        square = jnp.sum(difference**2, axis=-1) * jnp.exp(-2 * self.log_width[...])
        x = self.inner(inputs)
        return (jax.nn.softmax(-square, axis=-1) @ self.values[...]).reshape(x.shape) + x


def simulated(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random matrices [count, *lattice] and their isotherms [count, points]."""
    keys = jax.random.split(jax.random.key(4242), count)
    matrices = jax.jit(jax.vmap(PROBLEM._random_matrix))(keys)
    solve = jax.jit(PROBLEM.isotherm)
    parts = [np.asarray(solve(part)) for part in np.array_split(matrices, max(1, count // 500))]
    return np.asarray(matrices), np.concatenate(parts)


@dataclass(frozen=True)
class OtherNetworks(LDFT2D):
    """ldft2d with the networks of this study."""

    def network_whitened(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the generator of principal components."""
        return WhitenedGenerator(self.network(rngs), simulated(SAMPLES)[1])

    def network_bank(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the generator that contains a bank."""
        matrices, curves = simulated(BANK)
        return BankGenerator(self.network(rngs), curves, matrices)


def methods() -> dict[str, Method]:
    """Return the variants by name."""

    def variant(
        cls: Callable[..., LDFT2D] = LDFT2D,
        network: str = "default",
        rate: float = 1e-3,
        **options: Any,
    ) -> Method:
        rule = Adam(learning_rate=rate, schedule="cosine")
        return Method(cls(**OPTIONS, **options), rule, 4, network)

    steep: dict[str, Any] = {"slope_sharpness": 2.0, "rate": 3e-3}
    return {
        "Adam": variant(),
        "simulated targets only": variant(targets="simulated"),
        "slope of sigmoid(2 x), learning rate 3e-3": variant(**steep),
        "both": variant(targets="simulated", **steep),
        "both, rounded from the beginning": variant(RoundedEarly, targets="simulated", **steep),
        "both, rounded from 20 %": variant(
            RoundedEarly, targets="simulated", rounded_from=0.2, **steep
        ),
        "both, noise before rounding": variant(NoisyRounding, targets="simulated", **steep),
        "both, 512-512": variant(targets="simulated", hidden=(512, 512), **steep),
        "whitened inputs": variant(OtherNetworks, "whitened"),
        "bank": variant(OtherNetworks, "bank", targets="simulated"),
    }


if __name__ == "__main__":
    sys.exit(
        script(
            ComparisonOptions, lambda options: compare(methods(), options), __doc__, sys.argv[1:]
        )
    )
