"""Moments of the trapped particle, and the excess work as a sum of squares.

The two-stage Gauss method, of order 4 and A-stable, integrates m' = a - b m. Its stages are the
points of Gauss quadrature, so that int (q' - q*')^2 dtau needs no further values.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.trap.traps import HarmonicTrap

OFFSET = np.sqrt(3) / 6
STAGES = (0.5 - OFFSET, 0.5 + OFFSET)
"""Stages of a step, as fractions of its length."""


class Excess(NamedTuple):
    """Terms r and optimal terms r* [batch, m] of W - W* = 1/2 sum (r - r*)^2."""

    terms: jax.Array
    optimal: jax.Array

    def work(self) -> jax.Array:
        """Return W - W* of each sample, [batch]."""
        return 0.5 * jnp.sum((self.terms - self.optimal) ** 2, axis=1)


def stage_times(steps: int) -> np.ndarray:
    """Return the times of all stages as parts of the duration, [2 steps]."""
    return ((np.arange(steps)[:, None] + np.array(STAGES)) / steps).ravel()


def excess(trap: HarmonicTrap, control: jax.Array, goal: jax.Array, time: jax.Array) -> Excess:
    """Return the terms of the excess work of a protocol lambda [batch, 2 steps] at the stages.

    The terms are sqrt(h) q' at the stages, then those of the end; h is a step, [batch].
    """
    steps = control.shape[1] // 2
    step = time / steps
    rates, q_end = integrate(trap, control, step)
    path = trap.optimum(goal, time)
    optimal_end = path.start + path.rate * time
    scale = jnp.sqrt(step)[:, None]
    optimal_rates = jnp.broadcast_to(path.rate[:, None], rates.shape)

    def terms(rates: jax.Array, end: jax.Array) -> jax.Array:
        return jnp.concatenate([scale * rates, trap.end_terms(end, goal, optimal_end)], axis=1)

    return Excess(terms(rates, q_end), terms(optimal_rates, optimal_end))


def integrate(
    trap: HarmonicTrap, control: jax.Array, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return q' at the stages [batch, 2 steps] and q at the end [batch]."""
    a, b = trap.drift(control.reshape(len(control), -1, 2))
    # Coefficients of the method: 1/4 on the diagonal, 1/4 -+ sqrt(3)/6 beside it.
    same, first, second = 0.25, 0.25 - OFFSET, 0.25 + OFFSET

    def advance(m: jax.Array, drift: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        (a1, a2), (b1, b2) = drift
        r1, r2 = a1 - b1 * m, a2 - b2 * m
        p1, p2 = step * b1, step * b2
        determinant = 1 + (p1 + p2) / 4 + p1 * p2 / 12
        k1 = ((1 + same * p2) * r1 - first * p1 * r2) / determinant
        k2 = ((1 + same * p1) * r2 - second * p2 * r1) / determinant
        m1, m2 = m + step * (same * k1 + first * k2), m + step * (second * k1 + same * k2)
        rates = [trap.coordinate(m, k)[1] for m, k in ((m1, k1), (m2, k2))]
        return m + step * (k1 + k2) / 2, jnp.stack(rates, axis=1)

    start = jnp.full(len(control), trap.moment, control.dtype)
    drifts = jnp.moveaxis(a, 0, 2), jnp.moveaxis(b, 0, 2)  # [steps, 2, batch]
    end, rates = jax.lax.scan(advance, start, drifts)
    rates = jnp.moveaxis(rates, 1, 0).reshape(len(control), -1)
    return rates, trap.coordinate(end, jnp.zeros_like(end))[0]
