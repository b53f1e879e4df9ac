"""Dual cone: a gradient step that increases no term of the loss, and the alignment of the terms."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

from physopt.numerics.linalg import HIGHEST
from physopt.objective import Objective
from physopt.optimizers.first_order import AnyOptax
from physopt.problem import Batch, HasTerms
from physopt.rule import Info, Parameters, State, cost


@dataclasses.dataclass(frozen=True)
class DualCone(AnyOptax):
    """Dual cone gradient descent: a direction along which no term of a loss of several terms rises.

    With g_r the gradient of the first term (the residual inside the domain) and g_b that of all
    others together (boundary and initial conditions), g = g_r + g_b, the optimiser gets

        c (g . c) / |c|^2,  c = g_r / |g_r| + g_b / |g_b|,

    the projection of g on the centre of the cone {v: v . g_r >= 0, v . g_b >= 0}. combine=sum gives
    it g itself, for comparison: the rule is then the plain optimiser.

    info holds alignment, the score 2 |mean_k g_k / |g_k||^2 - 1 over all K terms: 1 for parallel
    gradients, 2/K - 1 for orthogonal ones, -1 if they cancel; and for each term its loss term_K.
    Source: Y. Hwang, D.-Y. Lim, arXiv 2409.18426; the score: S. Wang et al., arXiv 2502.00604.
    """

    optimizer: str = "adam"
    """Name of an optimiser of optax or optax.contrib; it decides which options there are."""

    combine: Literal["center", "sum"] = "center"
    """center: the projection; sum: the plain gradient."""

    def refuses(self, objective: Objective) -> str | None:
        """Refuse problems whose loss has one term."""
        if _terms(objective) < 2:
            name = type(objective.problem).__name__
            return f"the loss of {name} has one term; its samples are of no different kinds"
        return super().refuses(objective)

    def update(
        self, objective: Objective, params: Parameters, state: State, batch: Batch, key: jax.Array
    ) -> tuple[Parameters, State, Info]:
        """Return the optimiser's step on the combined gradient."""
        terms, size = _terms(objective), len(batch)
        losses, gradients = objective.term_gradients(params, batch, terms)
        loss = jnp.sum(losses)
        products = _products(gradients)
        weights = jnp.ones_like(losses)
        if self.combine == "center":
            weights = _center(products)
        combined = jax.tree.map(
            lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, 1, precision=HIGHEST),
            gradients,
        )
        updates, state = self.step(
            combined, state, params, batch.progress, loss, lambda p: objective.trial(p, batch)
        )
        spent = self._with_line_search(cost(simulate=size, vjp=terms * size), state, size)
        info = {
            "loss": loss,
            "grad_norm": jnp.sqrt(jnp.maximum(jnp.sum(products), 0)),
            "alignment": alignment(products),
            **{f"term_{k}": losses[k] for k in range(terms)},
        }
        return updates, state, {**info, **spent}


def _terms(objective: Objective) -> int:
    """Return the number of terms of the loss."""
    problem = objective.problem
    return len(problem.terms()) if isinstance(problem, HasTerms) else 1


def _products(gradients: Parameters) -> Array:
    """Return the inner products g_j . g_k [terms, terms] of gradients, leaves [terms, ...]."""
    rows = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(gradients)]
    return jnp.sum(jnp.stack([jnp.matmul(g, g.T, precision=HIGHEST) for g in rows]), axis=0)


def alignment(products: Array) -> Array:
    """Return 2 |mean_k g_k / |g_k||^2 - 1 from the inner products; a gradient of 0 counts as 0."""
    norms = _norms(products)
    return 2 * jnp.mean(products / (norms[:, None] * norms)) - 1


def _center(products: Array) -> Array:
    """Return the weights of the gradients in c (g . c) / |c|^2."""
    terms = len(products)
    first = (jnp.arange(terms) == 0).astype(products.dtype)
    groups = jnp.stack([first, 1 - first])  # of g_r and g_b
    between = jnp.matmul(jnp.matmul(groups, products, precision=HIGHEST), groups.T)
    inverse = 1 / _norms(between)
    square = inverse @ between @ inverse  # |c|^2
    along = jnp.sum(between @ inverse)  # g . c
    return along / jnp.where(square > 0, square, 1) * (inverse @ groups)


def _norms(products: Array) -> Array:
    """Return norms from inner products, 1 in place of 0."""
    square = jnp.diag(products)
    return jnp.sqrt(jnp.where(square > 0, square, 1))
