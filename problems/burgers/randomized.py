"""Control of Burgers' equation with a derivative that keeps a random subset of the cells.

The local derivative of advection is the identity plus D(u), whose rows are kept at random. With
rows drawn uniformly, as in the source, the variance doubles within a few steps wherever the fluid
moves by a cell or more; here a row is drawn with a probability proportional to its size, our
choice. Cells at rest, where D vanishes, cost nothing.

Source: D. Oktay et al., Randomized automatic differentiation, arXiv 2007.10412 (ICLR 2021).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from physopt.numerics.random_subset import count_of, draw
from physopt.problems.burgers.scheme import advect, departure, diffuse


def end_state(forces: Array, start: Array, viscosity: float, key: Array, fraction: float) -> Array:
    """Return the end state [batch, n] under forces [batch, steps, n] from a state [batch, n]."""

    def step(u: Array, now: tuple[Array, Array]) -> tuple[Array, None]:
        force, key = now
        return diffuse(advect_keeping(u, key, fraction), viscosity) + force, None

    keys = jax.random.split(key, forces.shape[1])
    return jax.lax.scan(step, start, (jnp.swapaxes(forces, 0, 1), keys))[0]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def advect_keeping(u: Array, key: Array, fraction: float) -> Array:
    """Return `advect` of fields [batch, n], with a fraction of the rows of D kept."""
    return advect(u)


def _forward(u: Array, key: Array, fraction: float) -> tuple[Array, Any]:
    """Keep rows of D: at s_i - u_i, between cells l and l + 1 and a part f beyond l,

    D_i c = (1 - f) c_l + f c_{l+1} - (1 + u_{l+1} - u_l) c_i.
    """
    left, beyond = departure(u)
    left = left.astype(jnp.int32)
    below, above = (jnp.take_along_axis(u, cell, axis=-1) for cell in (left, left + 1))
    cell = jnp.arange(u.shape[-1], dtype=jnp.int32)
    place = cell - u
    inside = (place > 0) & (place < u.shape[-1] - 1)  # elsewhere the place is clipped
    own = -1 - jnp.where(inside, above - below, 0)
    # The same row with entries of one cell added, for its size.
    first, second = left == cell, left + 1 == cell
    entries = (1 - beyond + first * own, beyond + second * own, ~(first | second) * own)
    size = jnp.sqrt(sum(entry**2 for entry in entries))
    index, factor = draw(key, count_of(u.size, fraction), size.ravel())
    row = (index - index % u.shape[-1]).astype(jnp.int32)
    places = jnp.stack([row + left.ravel()[index], index])
    weights = factor * jnp.stack([a.ravel()[index] for a in (1 - beyond, beyond, own)])
    return advect(u), (places, weights)


def _backward(fraction: float, residuals: Any, cotangent: Array) -> tuple[Array, None]:
    (left, index), weights = residuals
    flat = cotangent.ravel()
    for place, weight in zip((left, left + 1, index), weights, strict=True):
        flat = flat.at[place].add(weight * cotangent.ravel()[index])
    return flat.reshape(cotangent.shape), None


advect_keeping.defvjp(_forward, _backward)
