"""Products of the Hessian of the loss with vectors, by whichever differentiation a physics has."""

from collections.abc import Callable

import jax

from physopt.numerics.modes import failure
from physopt.objective import Objective
from physopt.problem import Batch
from physopt.rule import Parameters, PlanError

Product = Callable[[Parameters], Parameters]


def hessian_product(objective: Objective, params: Parameters, batch: Batch) -> tuple[Product, str]:
    """Return the function v -> H v, with H = d^2 L / dtheta^2, and how it is computed.

    H v is the derivative of the gradient along v in forward mode, or the gradient of
    v . dL/dtheta where the gradient has no forward mode. Raises PlanError if the physics has only
    one derivative.
    """

    def gradient(params: Parameters) -> Parameters:
        return jax.grad(objective.value)(params, batch)

    def forward(v: Parameters) -> Parameters:
        return jax.jvp(gradient, (params,), (v,))[1]

    def reverse(v: Parameters) -> Parameters:
        return jax.vjp(gradient, params)[1](v)[0]

    reasons = []
    for product, way in ((forward, "forward"), (reverse, "reverse")):
        if (reason := failure(product, params)) is None:
            return product, f"products with the Hessian in {way} mode of the gradient"
        reasons.append(reason)
    raise PlanError(f"the physics has no second derivatives: {'; '.join(dict.fromkeys(reasons))}")
