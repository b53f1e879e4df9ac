"""Crank-Nicolson evolution of a dipole by elimination, in real scalars, as one GPU kernel.

    i dpsi/dt = (T + u(t) s) psi,  T = -d^2/ds^2 on n points of spacing h,  s_j = h j

A step is the Cayley transform psi' = 2 R psi - psi with R = (1 + i dt/2 (T + u s))^-1. With
b = dt / (2 h^2) the matrix has -i b beside its diagonal 1 + i (2 b + u s dt/2), and elimination
without exchange of rows is stable: its pivots p_j = 1 + i (2 b + u s_j dt/2) + b^2 / p_{j-1} have
real parts of 1 or more. Kernels have no complex numbers: psi is a list of n pairs (real,
imaginary) of scalars, and the elimination is unrolled over the points.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from physopt.numerics.jacobian import pulled_rows
from physopt.numerics.time_kernel import Kernel
from physopt.numerics.trajectory import integrate

MOST_POINTS = 64
"""Largest number of points for which to unroll: the time to compile grows with it."""

Pairs = list[tuple[Array, Array]]
Step = Callable[[Pairs, Array], Pairs]


def evolve(
    control: Array, start: np.ndarray, spacing: float, time_step: float, kernel: Kernel | None
) -> Array:
    """Return the final state [batch, 2 n] under controls [batch, steps] from a real start [n].

    The result interleaves real and imaginary parts.
    """
    advance = cayley_step(len(start), spacing, time_step)
    real = [jnp.full(len(control), value, control.dtype) for value in start.tolist()]
    initial = [(part, jnp.zeros_like(part)) for part in real]
    final, _ = integrate(lambda psi, u: (advance(psi, u), None), initial, control.T, kernel)
    return jnp.stack([part for pair in final for part in pair], axis=1)


def linearized(
    control: Array, start: np.ndarray, spacing: float, time_step: float, kernel: Kernel | None
) -> tuple[Array, Array]:
    """Return `evolve` and its Jacobian [batch, 2 n, steps], all rows in one adjoint kernel."""
    final, vjp = jax.vjp(lambda u: evolve(u, start, spacing, time_step, kernel), control)
    return final, pulled_rows(lambda rows: vjp(rows)[0], final)


def cayley_step(points: int, spacing: float, time_step: float) -> Step:
    """Return the function (psi, u) -> psi', with a derivative that reuses the pivots.

    d psi' = R (2 d psi - i dt/2 s (psi + psi') du) - d psi, and psi + psi' = 2 R psi.
    """
    beta = time_step / (2 * spacing**2)
    kicks = [time_step * spacing * j for j in range(1, points + 1)]  # dt s

    def inverse_pivots(control: Array) -> Pairs:
        """Return 1 / p_j."""
        inverses: Pairs = []
        real, imaginary = 0.0, 0.0
        for kick in kicks:
            p, q = 1 + beta**2 * real, 2 * beta + kick / 2 * control + beta**2 * imaginary
            size = 1 / (p * p + q * q)
            real, imaginary = p * size, -q * size
            inverses.append((real, imaginary))
        return inverses

    def solve(inverses: Pairs, right: Pairs) -> Pairs:
        """Return R right: z_j = (right_j + i b z_{j-1}) / p_j, then z_j += i b z_{j+1} / p_j."""
        reduced: Pairs = []
        a, b = 0.0, 0.0
        for (g, h), (real, imaginary) in zip(inverses, right, strict=True):
            real, imaginary = real - beta * b, imaginary + beta * a
            a, b = g * real - h * imaginary, g * imaginary + h * real
            reduced.append((a, b))
        solution, (a, b) = reduced[-1:], reduced[-1]
        for (g, h), (real, imaginary) in zip(inverses[-2::-1], reduced[-2::-1], strict=True):
            a, b = real - beta * (g * b + h * a), imaginary + beta * (g * a - h * b)
            solution.append((a, b))
        return solution[::-1]

    def twice_less(solution: Pairs, right: Pairs) -> Pairs:
        return [(2 * a - c, 2 * b - d) for (a, b), (c, d) in zip(solution, right, strict=True)]

    @jax.custom_jvp
    def step(psi: Pairs, control: Array) -> Pairs:
        return twice_less(solve(inverse_pivots(control), psi), psi)

    @step.defjvp
    def derivative(
        primals: tuple[Pairs, Array], tangents: tuple[Pairs, Array]
    ) -> tuple[Pairs, Pairs]:
        (psi, control), (moves, change) = primals, tangents
        inverses = inverse_pivots(control)
        mean = solve(inverses, psi)
        source = [
            (m + kick / 2 * b * change, n - kick / 2 * a * change)
            for kick, (a, b), (m, n) in zip(kicks, mean, moves, strict=True)
        ]
        return twice_less(mean, psi), twice_less(solve(inverses, source), moves)

    return step
