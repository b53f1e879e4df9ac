"""Particle-swarm optimisation of binary matrices towards isotherms.

It needs no derivative and stops far from an optimum; its matrices have textures of their own.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from physopt.numerics.keys import normal
from physopt.problems.ldft.relaxation import binary

INERTIA, ATTRACTION = 0.7298, 1.49618
"""Coefficients with which a swarm converges."""

PARTICLES = 16
ITERATIONS = 40

OFFSETS = (-1.5, 2.0)
"""Range of the means of the particles' first positions: porosities of 0.07 to 0.98."""


class _Swarm(NamedTuple):
    position: jax.Array  # [batch, particles, *lattice]
    velocity: jax.Array
    best: jax.Array
    """Best position of each particle."""
    error: jax.Array  # [batch, particles]


def swarm_matrices(
    keys: jax.Array, target: jax.Array, isotherm: Callable[[jax.Array], jax.Array], shape: tuple
) -> jax.Array:
    """Return binary matrices [batch, *shape] whose isotherms are near to y* [batch, points].

    Sites of positive x are pores. Each particle starts from white noise about a mean of its own,
    and with its best position p, that of the swarm g, and uniform r_1, r_2 for every site

        v <- 0.7298 v + 1.49618 (r_1 (p - x) + r_2 (g - x)),    x <- x + v.

    keys [batch]; isotherm: [batch, *shape] -> y [batch, points].

    Source: J. Kennedy, R. Eberhart, doi 10.1109/ICNN.1995.488968; the coefficients:
    M. Clerc, J. Kennedy, doi 10.1109/4235.985692.
    """
    axes = tuple(range(2, 2 + len(shape)))

    def errors(position: jax.Array) -> jax.Array:
        y = jax.vmap(isotherm, in_axes=1, out_axes=1)(binary(position))
        return jnp.mean(jnp.abs(y - target[:, None]), axis=2)

    def of_swarm(best: jax.Array, error: jax.Array) -> jax.Array:
        nearest = jnp.expand_dims(jnp.argmin(error, axis=1), (1, *axes))
        return jnp.take_along_axis(best, nearest, axis=1)

    def move(swarm: _Swarm, index: jax.Array) -> tuple[_Swarm, None]:
        def uniform(key: jax.Array) -> jax.Array:
            return jax.random.uniform(jax.random.fold_in(key, index), (2, PARTICLES, *shape))

        own, common = jnp.moveaxis(jax.vmap(uniform)(keys), 1, 0)
        position, best = swarm.position, swarm.best
        pull = own * (best - position) + common * (of_swarm(best, swarm.error) - position)
        velocity = INERTIA * swarm.velocity + ATTRACTION * pull
        position = position + velocity
        error = errors(position)
        better = error < swarm.error
        best = jnp.where(jnp.expand_dims(better, axes), position, best)
        return _Swarm(position, velocity, best, jnp.minimum(error, swarm.error)), None

    noise = jax.vmap(lambda key: normal(key, (PARTICLES, *shape)))(keys)
    start = noise + jnp.linspace(*OFFSETS, PARTICLES).reshape(-1, *(1,) * len(shape))
    first = _Swarm(start, jnp.zeros_like(start), start, errors(start))
    end, _ = jax.lax.scan(move, first, jnp.arange(1, ITERATIONS + 1))
    return binary(of_swarm(end.best, end.error)[:, 0])
