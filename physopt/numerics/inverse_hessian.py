"""Updates of a dense inverse Hessian H from a step s and the change y of the gradient along it.

All are members of the self-scaled Broyden family. With rho = 1/(y.s), b = rho s.H^-1 s,
h = rho y.H y, A = b h - 1 >= 0 and v = rho s - H y / (y.H y),

    H+ = (H - H y y^T H / (y.H y) + phi (y.H y) v v^T) / tau + rho s s^T,
    phi = (1 - theta) / (1 + A theta).

bfgs      theta = 0, tau = 1
ssbfgs    theta = 0, tau = min(1, 1/b)
ssbroyden theta and tau of J. F. Urban, P. Stefanou, J. A. Pons, arXiv 2405.04230, equations 13
          to 23

Each keeps H symmetric positive definite where y.s > 0.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jax import Array

from physopt.numerics.linalg import HIGHEST

Formula = Literal["ssbroyden", "ssbfgs", "bfgs"]

_Scalings = Callable[[Array, Array, Array, int], tuple[Array, Array]]
"""(A, b, h, P) -> (theta, tau)"""


def _bfgs(a: Array, b: Array, h: Array, size: int) -> tuple[Array, Array]:
    return jnp.zeros_like(b), jnp.ones_like(b)


def _ssbfgs(a: Array, b: Array, h: Array, size: int) -> tuple[Array, Array]:
    return jnp.zeros_like(b), jnp.minimum(1, 1 / b)


def _ssbroyden(a: Array, b: Array, h: Array, size: int) -> tuple[Array, Array]:
    c = jnp.sqrt(a / (1 + a))
    # h (1 - c), without the cancellation at large A
    lower = jnp.minimum(1, h / ((1 + a) * (1 + c)))
    theta = jnp.maximum((lower - 1) / a, jnp.minimum(1 / lower, (1 - b) / b))
    sigma = 1 + theta * a
    # A = 0 if P = 1, so that any exponent is right.
    power = jnp.abs(sigma) ** (1 / (1 - max(size, 2)))
    positive = jnp.where(theta > 0, theta, 1)
    scale = jnp.minimum(1, 1 / b)
    tau = jnp.where(
        theta > 0, scale * jnp.minimum(power, 1 / positive), jnp.minimum(scale * power, sigma)
    )
    return theta, tau


_SCALINGS: dict[Formula, _Scalings] = {"ssbroyden": _ssbroyden, "ssbfgs": _ssbfgs, "bfgs": _bfgs}


def updated(h: Array, s: Array, y: Array, curvature: Array, formula: Formula) -> Array:
    """Return H+ [P, P], or H itself where y.s <= 0 or the result would not be finite.

    h: [P, P]; s, y: [P]; curvature: s.H^-1 s, which is -a s.g for a step s = -a H g.
    """
    hy = jnp.matmul(h, y, precision=HIGHEST)
    ys, yhy = y @ s, y @ hy
    usable = (ys > 0) & (yhy > 0) & (curvature > 0)
    rho = 1 / jnp.where(usable, ys, 1)
    inner = jnp.where(usable, yhy, 1)
    # Rounding may give A a negative sign.
    a = jnp.maximum(rho * curvature * rho * inner - 1, jnp.finfo(h.dtype).tiny)
    theta, tau = _SCALINGS[formula](a, rho * curvature, rho * inner, len(s))
    phi = (1 - theta) / (1 + a * theta)
    usable &= jnp.isfinite(phi) & jnp.isfinite(1 / tau) & (tau > 0)
    v = rho * s - hy / inner
    broyden = h - jnp.outer(hy, hy) / inner + phi * inner * jnp.outer(v, v)
    return jnp.where(usable, broyden / tau + rho * jnp.outer(s, s), h)
