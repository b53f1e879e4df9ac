"""Products with the Jacobian of a batch's outputs in the parameters, from both sides."""

from collections.abc import Callable
from typing import Any

import jax
from jax import Array

from physopt.objective import Linearised, Objective
from physopt.problem import Batch, Linearizes
from physopt.rule import Info, Parameters, cost

Push = Callable[[Parameters], Array]


def with_products(
    objective: Objective, params: Parameters, batch: Batch
) -> tuple[Linearised, Push]:
    """Return the outputs linearised, with `pull` for J^T c, and the function v -> J v [n].

    A physics without forward differentiation, such as one with a custom_vjp, is replaced by its
    dy/dx, which costs one pullback of the batch per component of y.
    """
    system = objective.linearised(params, batch)
    try:
        push = system.forward()
        # A linearised custom_vjp raises when its program is transformed again.
        jax.eval_shape(jax.vmap(push), jax.tree.map(lambda leaf: leaf[None], params))
        return system, push
    except TypeError:
        system = objective.linearised(params, batch, slope=True)
        return system, system.forward()


def products_of(objective: Objective, params: Parameters, batch: Batch) -> str:
    """Return how these products are computed, from shapes."""
    replaced = []

    def trace(params: Parameters, batch: Batch) -> None:
        system, _ = with_products(objective, params, batch)
        replaced.append(system.samples is not batch)

    jax.eval_shape(trace, params, batch)
    return "with dy/dx in place of the physics" if replaced[0] else "through the physics"


def product_cost(objective: Objective, system: Linearised, batch: Batch, products: Any) -> Info:
    """Count the linearisation, and `products` products with J and with J^T each."""
    size = len(batch)
    if system.samples is batch:
        return cost(simulate=size * (1 + products), vjp=size * (1 + products))
    rows = 1 if isinstance(objective.problem, Linearizes) else system.gradient.size // size
    return cost(simulate=size, vjp=size * rows)
