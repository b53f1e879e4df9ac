"""Reference trajectories of periodic equations: ETDRK4 on the host, interpolated in programs."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

CONTOUR = 32
STENCIL = 10
"""Time slices of the interpolation, a polynomial of degree 9."""

CHUNK = 64


class Trajectory(NamedTuple):
    """u(t, x) on [0, duration] x [low, low + length] as Fourier coefficients at even times."""

    coefficients: np.ndarray  # [times, modes / 2 + 1], those of u = Re sum_k c_k e^(2 pi i k s)
    duration: float
    low: float
    length: float

    def at(self, points: Array) -> Array:
        """Return u at points (t, x) [n, 2]: Lagrange's polynomials in t, Fourier series in x."""
        slices, modes = self.coefficients.shape
        table = jnp.asarray(self.coefficients, jnp.result_type(points.dtype, jnp.complex64))
        nodes = np.arange(STENCIL)
        others = [np.delete(nodes, j) for j in nodes]
        scale = np.array([1 / np.prod(float(j) - k) for j, k in zip(nodes, others, strict=True)])

        def one(point: Array) -> Array:
            place = point[0] * (slices - 1) / self.duration
            first = jnp.clip(jnp.floor(place) - STENCIL // 2 + 1, 0, slices - STENCIL)
            distance = place - first - nodes
            weights = scale * jnp.stack([jnp.prod(distance[k]) for k in others])
            rows = jax.lax.dynamic_slice(table, (first.astype(int), 0), (STENCIL, modes))
            angle = 2 * jnp.pi * jnp.arange(modes) * (point[1] - self.low) / self.length
            series = jnp.matmul(weights.astype(rows.dtype), rows)
            return jnp.sum(jnp.real(series) * jnp.cos(angle) - jnp.imag(series) * jnp.sin(angle))

        return jax.lax.map(one, points, batch_size=CHUNK)


def etdrk4(
    linear: np.ndarray,
    nonlinear: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    time_step: float,
    slices: int,
    steps_per_slice: int,
) -> np.ndarray:
    """Integrate v' = L v + N(v) for Fourier coefficients v [modes]: [slices + 1, modes].

    Exponential time differencing of fourth order; its functions of L are means over a circle of
    radius 1, because their formulas cancel for small L.
    Source: A.-K. Kassam, L. N. Trefethen, SIAM J. Sci. Comput. 26 (2005) 1214.
    """
    h, lh = time_step, time_step * np.asarray(linear, complex)
    circle = lh[:, None] + np.exp(2j * np.pi * (np.arange(CONTOUR) + 0.5) / CONTOUR)
    whole, half = np.exp(lh), np.exp(lh / 2)
    e, power = np.exp(circle), circle**3
    middle = h * np.mean((np.exp(circle / 2) - 1) / circle, axis=1)
    first = h * np.mean((-4 - circle + e * (4 - 3 * circle + circle**2)) / power, axis=1)
    second = 2 * h * np.mean((2 + circle + e * (circle - 2)) / power, axis=1)
    third = h * np.mean((-4 - 3 * circle - circle**2 + e * (4 - circle)) / power, axis=1)
    v, kept = np.asarray(start, complex), [np.asarray(start, complex)]
    for _ in range(slices):
        for _ in range(steps_per_slice):
            n = nonlinear(v)
            decayed = half * v
            a = decayed + middle * n
            at_a = nonlinear(a)
            b = decayed + middle * at_a
            at_b = nonlinear(b)
            at_c = nonlinear(half * a + middle * (2 * at_b - n))
            v = whole * v + first * n + second * (at_a + at_b) + third * at_c
        kept.append(v)
    return np.stack(kept)


def fourier_series(transformed: np.ndarray, modes: int) -> np.ndarray:
    """Return the c_k of u = Re sum_k c_k e^(2 pi i k s) from values of np.fft.rfft."""
    factor = np.full(transformed.shape[-1], 2.0 / modes)
    factor[[0, -1]] = 1.0 / modes
    return transformed * factor
