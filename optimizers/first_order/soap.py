"""SOAP: Adam in the eigenbasis of the second moments of rows and columns of the gradient."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from physopt.numerics.linalg import HIGHEST
from physopt.optimizers.first_order.kronecker import (
    Axes,
    Matrices,
    averaged,
    factored_axes,
    identities,
    moments,
    multiplied,
    transposed,
)
from physopt.optimizers.first_order.rule import Factor, FirstOrder
from physopt.options import Decay, PositiveFloat, PositiveInt


class SOAPState(NamedTuple):
    """State between updates; the tuples have one entry for each leaf of the parameters."""

    age: Array  # int32, updates made
    mean: tuple[Array, ...]  # of the gradients
    square: tuple[Array, ...]  # mean square of the rotated gradients
    factors: tuple[Matrices, ...]  # A and B
    bases: tuple[Matrices, ...]  # Q_A and Q_B


@dataclasses.dataclass(frozen=True)
class SOAP(FirstOrder):
    """SOAP: Adam in the eigenbasis of Shampoo's factors, which makes it invariant under rotations.

    For each weight matrix with gradient G [m, k]:

        A <- b A + (1 - b) G G^T,  B <- b B + (1 - b) G^T G,  A = Q_A . Q_A^T,  B = Q_B . Q_B^T,
        step = -eta Q_A (m' / (sqrt(v') + eps)) Q_B^T,

    with m' the running mean of G in the basis, Q_A^T m Q_B, and v' that of (Q_A^T G Q_B)^2, both
    corrected for the zero start. The first update determines the bases and changes nothing;
    they then follow the factors by Q_A <- qr(A Q_A) every `interval` updates. A tensor has one
    factor for each axis; vectors, such as biases, have none: for them it is Adam.

    optax has no SOAP, and no maintained JAX package does.
    Source: N. Vyas et al., arXiv 2409.11321; on PINNs S. Wang et al., arXiv 2502.00604.
    """

    learning_rate: PositiveFloat = 3e-3
    b1: Decay = 0.95
    """Weight of the past in the mean of the gradients."""

    b2: Decay = 0.95
    """Weight of the past in the mean square of the rotated gradients."""

    factor_decay: Decay = 0.95
    """Weight b of the past in A and B."""

    interval: PositiveInt = 10
    """Updates between two steps of the bases."""

    largest_side: PositiveInt = 2048
    """Axes with more entries have no factor, since theirs would cost too much."""

    eps: PositiveFloat = 1e-8

    tunable: ClassVar = {"learning_rate": (1e-4, 1e-1)}

    def transformation(self, factor: Factor = 1.0) -> optax.GradientTransformation:
        """Return SOAP as an optax optimiser."""
        rate = factor * self.learning_rate

        def init(params: Any) -> SOAPState:
            leaves = jax.tree.leaves(params)
            zeros = tuple(jnp.zeros_like(leaf) for leaf in leaves)
            bases = tuple(identities(leaf, self._axes(leaf)) for leaf in leaves)
            return SOAPState(jnp.int32(0), zeros, zeros, jax.tree.map(jnp.zeros_like, bases), bases)

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, SOAPState]:
            leaves, tree = jax.tree.flatten(updates)
            steps, state = self._update(leaves, state)
            return tree.unflatten([-rate * step for step in steps]), state

        return optax.GradientTransformation(init, update)

    def _axes(self, leaf: Array) -> Axes:
        return factored_axes(leaf, self.largest_side)

    def _update(self, gradients: list[Array], state: SOAPState) -> tuple[list[Array], SOAPState]:
        """Return the directions in the present bases, and the state with the next ones."""
        first, steps, means, squares = state.age == 0, [], [], []
        # Without the first gradient, in whose own basis it would be diagonal.
        age = jnp.maximum(state.age, 1)
        for g, mean, square, bases in zip(
            gradients, state.mean, state.square, state.bases, strict=True
        ):
            axes, inverse = self._axes(g), transposed(bases)
            mean = jnp.where(first, mean, self.b1 * mean + (1 - self.b1) * g)
            rotated = multiplied(g, axes, inverse)
            square = jnp.where(first, square, self.b2 * square + (1 - self.b2) * rotated**2)
            root = jnp.sqrt(square / (1 - self.b2**age).astype(g.dtype))
            step = multiplied(mean, axes, inverse) / (1 - self.b1**age).astype(g.dtype)
            steps.append(multiplied(step / (root + self.eps), axes, bases))
            means.append(mean)
            squares.append(square)
        factors = tuple(
            averaged(old, moments(g, self._axes(g)), self.factor_decay)
            for old, g in zip(state.factors, gradients, strict=True)
        )
        begin = state._replace(mean=tuple(means), square=tuple(squares), factors=factors)
        due = jnp.where(first, 2, jnp.where(state.age % self.interval == 0, 1, 0))
        state = lax.switch(due, [lambda s: s, self._followed, _decomposed], begin)
        return steps, state._replace(age=state.age + 1)

    def _followed(self, state: SOAPState) -> SOAPState:
        """Make one step of orthogonal iteration with directions in the order of their moments."""
        squares, every = [], []
        for square, factors, bases in zip(state.square, state.factors, state.bases, strict=True):
            axes, new = self._axes(square), []
            for axis, factor, basis in zip(axes, factors, bases, strict=True):
                product = jnp.matmul(factor, basis, precision=HIGHEST)
                order = jnp.argsort(-jnp.sum(basis * product, axis=0))
                square = jnp.take(square, order, axis=axis)
                new.append(jnp.linalg.qr(product[:, order])[0])
            squares.append(square)
            every.append(tuple(new))
        return state._replace(square=tuple(squares), bases=tuple(every))


def _decomposed(state: SOAPState) -> SOAPState:
    """Return the state with the eigenvectors of its factors as bases."""
    return state._replace(bases=jax.tree.map(lambda f: jnp.linalg.eigh(f)[1], state.factors))
