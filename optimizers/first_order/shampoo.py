"""Shampoo: the gradient of a matrix between roots of the second moments of its rows and columns."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from physopt.numerics.linalg import HIGHEST
from physopt.optimizers.first_order.kronecker import (
    Matrices,
    averaged,
    factored_axes,
    identities,
    moments,
    multiplied,
)
from physopt.optimizers.first_order.rule import Factor, FirstOrder
from physopt.options import Decay, PositiveFloat, PositiveInt


class ShampooState(NamedTuple):
    """State between updates; the tuples have one entry for each leaf of the parameters."""

    adam: Any  # of the optimiser whose lengths are used
    factors: tuple[Matrices, ...]  # A and B
    roots: tuple[Matrices, ...]  # A^(-1/4) and B^(-1/4)


@dataclasses.dataclass(frozen=True)
class Shampoo(FirstOrder):
    """Shampoo with the length of Adam's steps.

    For each weight matrix with gradient G [m, k]:

        A <- b A + (1 - b) G G^T,  B <- b B + (1 - b) G^T G,
        direction = (A + d max(A) I)^(-1/4) m (B + d max(B) I)^(-1/4),

    with m Adam's running mean of G, d the `damping` and max the largest eigenvalue. The direction
    is scaled to the norm of Adam's step for this matrix, so that learning rates of Adam apply. A
    tensor with K axes has K factors, to the power -1/(2K); vectors have none: for them it is Adam.
    The roots are computed every `interval` updates.

    optax has no Shampoo; the package optax-shampoo has not been maintained since 2022.
    Source: V. Gupta, T. Koren, Y. Singer, arXiv 1802.09568; the length of another rule's steps:
    N. Agarwal et al., arXiv 2002.11803.
    """

    learning_rate: PositiveFloat = 1e-3
    b1: Decay = 0.9
    """Weight of the past in the mean of the gradients."""

    b2: Decay = 0.999
    """Weight of the past in Adam's mean square, which gives the length."""

    factor_decay: Decay = 0.95
    """Weight b of the past in A and B."""

    damping: PositiveFloat = 1e-6
    """Shift of the eigenvalues of A and B, relative to the largest."""

    interval: PositiveInt = 10
    """Updates between two computations of the roots."""

    largest_side: PositiveInt = 2048
    """Axes with more entries have no factor, since theirs would cost too much."""

    eps: PositiveFloat = 1e-8

    tunable: ClassVar = {"learning_rate": (1e-5, 1e-1)}

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return Shampoo as an optax optimiser."""
        adam: Any = optax.scale_by_adam(self.b1, self.b2, self.eps)
        rate = factor * self.learning_rate

        def init(params: Any) -> ShampooState:
            leaves = jax.tree.leaves(params)
            roots = tuple(identities(leaf, self._axes(leaf)) for leaf in leaves)
            return ShampooState(adam.init(params), jax.tree.map(jnp.zeros_like, roots), roots)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, ShampooState]:
            leaves, tree = jax.tree.flatten(updates)
            steps, adam_state = adam.update(updates, state.adam)
            factors = tuple(
                averaged(old, moments(g, self._axes(g)), self.factor_decay)
                for old, g in zip(state.factors, leaves, strict=True)
            )
            due = state.adam.count % self.interval == 0
            roots = lax.cond(due, self._roots, lambda _: state.roots, factors)
            means = jax.tree.leaves(adam_state.mu)
            scaled = [
                -rate * self._direction(mean, step, matrices)
                for mean, step, matrices in zip(means, jax.tree.leaves(steps), roots, strict=True)
            ]
            return tree.unflatten(scaled), ShampooState(adam_state, factors, roots)

        return optax.GradientTransformation(init, update)

    def _axes(self, leaf: Array) -> tuple[int, ...]:
        return factored_axes(leaf, self.largest_side)

    def _direction(self, mean: Array, step: Array, roots: Matrices) -> Array:
        """Return Shampoo's direction with the norm of Adam's step, which is that of a vector."""
        if not roots:
            return step
        direction = multiplied(mean, self._axes(mean), roots)
        norm = jnp.linalg.norm(direction.ravel())
        return direction * (jnp.linalg.norm(step.ravel()) / jnp.where(norm > 0, norm, 1))

    def _roots(self, factors: tuple[Matrices, ...]) -> tuple[Matrices, ...]:
        """Return A^(-1/(2K)) of each of the K factors of a leaf."""
        return tuple(tuple(self._root(a, len(every)) for a in every) for every in factors)

    def _root(self, matrix: Array, axes: int) -> Array:
        values, vectors = jnp.linalg.eigh(matrix)
        # Relative to the largest, so that powers of small moments do not overflow.
        relative = jnp.maximum(values, 0) / jnp.where(values[-1] > 0, values[-1], 1)
        powers = (relative + self.damping) ** (-0.5 / axes)
        return jnp.matmul(vectors * powers, vectors.T, precision=HIGHEST)
