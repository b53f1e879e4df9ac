"""The moved and the stiffened trap: equations of motion of their moments, and exact optima.

Temperature, mobility and the initial stiffness are 1. A coordinate q of the moments makes the work
a sum of squares, with an optimal path q* that is linear in time:

    W - W* = int_0^t (q' - q*')^2 dtau + D(q(t)),  D >= 0,  D(q*(t)) = 0.

Integrating W = int dlambda dV/dlambda by parts, jumps included, gives a function of q(t) plus
int q'^2 dtau. Its stationarity at q* cancels the terms linear in q - q*.

Source of the optima: T. Schmiedl, U. Seifert, Phys. Rev. Lett. 98, 108301 (2007),
doi 10.1103/PhysRevLett.98.108301.
"""

from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

SERIES = 0.05
"""Below this |z| the difference z - log(1 + z) is a series: it would cancel in float32."""


class Path(NamedTuple):
    """The optimal path q*(tau) = start + rate tau of each sample, [batch]."""

    start: jax.Array
    rate: jax.Array


class HarmonicTrap(Protocol):
    """A family of tasks: lead the control lambda from `before` to a goal in a time t.

    The moment m obeys m' = a - b m. Arrays have the leading axis `batch`.
    """

    before: float  # lambda for tau < 0
    moment: float  # m in equilibrium at `before`
    goals: tuple[float, float]  # range of the goals
    logarithmic: bool  # whether goals are uniform in their logarithm

    def optimum(self, goal: jax.Array, time: jax.Array) -> Path:
        """Return the optimal path."""
        ...

    def work(self, goal: jax.Array, time: jax.Array) -> jax.Array:
        """Return the minimal work W* in units of kT."""
        ...

    def protocol(self, goal: jax.Array, time: jax.Array, part: jax.Array) -> jax.Array:
        """Return lambda* at tau = part t, [batch, n] for parts [n]."""
        ...

    def drift(self, control: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return a and b of m' = a - b m."""
        ...

    def coordinate(self, moment: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return q and q' of a moment and its time derivative."""
        ...

    def end_terms(self, q: jax.Array, goal: jax.Array, optimal: jax.Array) -> jax.Array:
        """Return r [batch, m] with D(q) = 1/2 sum (r(q) - r(q*))^2."""
        ...

    def energy(self, position: jax.Array, control: jax.Array) -> jax.Array:
        """Return V."""
        ...

    def relax(
        self, x: jax.Array, control: jax.Array, step: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """Return positions after a time step at constant control, exactly distributed."""
        ...


class Moved:
    """V = (x - lambda)^2 / 2 from 0 to L: q = m = <x>, q' = lambda - q.

    lambda* = L (tau + 1) / (t + 2), W* = L^2 / (t + 2).
    """

    before: float = 0.0
    moment: float = 0.0
    goals: tuple[float, float] = (1.0, 5.0)
    logarithmic: bool = False

    def optimum(self, goal: jax.Array, time: jax.Array) -> Path:
        """Return q* = L tau / (t + 2)."""
        return Path(jnp.zeros_like(goal), goal / (time + 2))

    def work(self, goal: jax.Array, time: jax.Array) -> jax.Array:
        """Return L^2 / (t + 2)."""
        return goal**2 / (time + 2)

    def protocol(self, goal: jax.Array, time: jax.Array, part: jax.Array) -> jax.Array:
        """Return L (tau + 1) / (t + 2): [batch, n] for parts [n] of the time."""
        return (goal / (time + 2))[:, None] * (part * time[:, None] + 1)

    def drift(self, control: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return lambda and 1."""
        return control, jnp.ones_like(control)

    def coordinate(self, moment: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the moment itself."""
        return moment, slope

    def end_terms(self, q: jax.Array, goal: jax.Array, optimal: jax.Array) -> jax.Array:
        """Return q: D = (q - q*)^2 / 2."""
        return q[:, None]

    def energy(self, position: jax.Array, control: jax.Array) -> jax.Array:
        """Return (x - lambda)^2 / 2."""
        return (position - control) ** 2 / 2

    def relax(
        self, x: jax.Array, control: jax.Array, step: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """Return the Ornstein-Uhlenbeck process about lambda after a step."""
        spread = jnp.sqrt(-jnp.expm1(-2 * step))
        return control + (x - control) * jnp.exp(-step) + spread * noise


class Stiffened:
    """V = lambda x^2 / 2 from 1 to l: m = <x^2>, m' = 2 - 2 lambda m, q = sqrt(m).

    q* = 1 + c tau, lambda* = (1 - c q*) / q*^2 with
    c t = (-1 - l t + sqrt(1 + 2 t + l t^2)) / (2 + l t), and
    W* = c^2 t - ln q*(t) + l q*(t)^2 / 2 - 1/2.
    """

    before: float = 1.0
    moment: float = 1.0
    goals: tuple[float, float] = (0.2, 5.0)
    logarithmic: bool = True

    def optimum(self, goal: jax.Array, time: jax.Array) -> Path:
        """Return q* = 1 + c tau; the difference in c t is rationalised against cancellation."""
        root = jnp.sqrt(1 + 2 * time + goal * time**2)
        # (root - 1 - l t)(root + 1 + l t) = t (2 + l t) (1 - l)
        return Path(jnp.ones_like(goal), (1 - goal) / (root + 1 + goal * time))

    def work(self, goal: jax.Array, time: jax.Array) -> jax.Array:
        """Return W* by its closed form."""
        rate = self.optimum(goal, time).rate
        end = rate * time
        return rate**2 * time - jnp.log1p(end) + goal * (1 + end) ** 2 / 2 - 0.5

    def protocol(self, goal: jax.Array, time: jax.Array, part: jax.Array) -> jax.Array:
        """Return (1 - c q*) / q*^2: [batch, n] for parts [n] of the time."""
        rate = self.optimum(goal, time).rate[:, None]
        q = 1 + rate * part * time[:, None]
        return (1 - rate * q) / q**2

    def drift(self, control: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return 2 and 2 lambda."""
        return jnp.full_like(control, 2.0), 2 * control

    def coordinate(self, moment: jax.Array, slope: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the standard deviation and its time derivative."""
        q = jnp.sqrt(moment)
        return q, slope / (2 * q)

    def end_terms(self, q: jax.Array, goal: jax.Array, optimal: jax.Array) -> jax.Array:
        """Return sqrt(l) q and the root of z - ln(1 + z), z = q/q* - 1, [batch, 2].

        D = l (q - q*)^2 / 2 + z - ln(1 + z): the Bregman distance of l q^2 / 2 - ln q.
        """
        return jnp.stack([jnp.sqrt(goal) * q, signed_root(q / optimal - 1)], axis=1)

    def energy(self, position: jax.Array, control: jax.Array) -> jax.Array:
        """Return lambda x^2 / 2."""
        return control * position**2 / 2

    def relax(
        self, x: jax.Array, control: jax.Array, step: jax.Array, noise: jax.Array
    ) -> jax.Array:
        """Return the Ornstein-Uhlenbeck process about 0 after a step, for any sign of lambda."""
        exponent = 2 * control * step
        flat = jnp.abs(exponent) < 1e-4
        safe = jnp.where(flat, 1.0, exponent)
        ratio = jnp.where(flat, 1 - exponent / 2, -jnp.expm1(-safe) / safe)
        return x * jnp.exp(-exponent / 2) + jnp.sqrt(2 * step * ratio) * noise


def signed_root(z: jax.Array) -> jax.Array:
    """Return sign(z) sqrt(2 (z - ln(1 + z))), analytic at 0, for z > -1."""
    small = jnp.abs(z) < SERIES
    series = sum((2 * (-1) ** k / (k + 2)) * jnp.where(small, z, 0) ** k for k in range(7))
    safe = jnp.where(small, 1.0, z)
    ratio = jnp.where(small, series, 2 * (safe - jnp.log1p(safe)) / safe**2)
    return z * jnp.sqrt(ratio)


TRAPS: dict[str, HarmonicTrap] = {"moved": Moved(), "stiffened": Stiffened()}
