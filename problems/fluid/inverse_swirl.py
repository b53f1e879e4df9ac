"""Inverse steps for a marker in a translated swirl: reverse simulation, and Gauss-Newton.

Both map an initial velocity to a better member of the family `Motion`. What is no translation or
swirl about the middle is never corrected.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.linalg import HIGHEST
from physopt.numerics.steps import shortened
from physopt.problems.fluid.flow import Flow
from physopt.problems.fluid.swirl import (
    DURATION,
    Motion,
    centre_of_mass,
    centring,
    cross,
    spin_of,
)

GAIN = 1e-3
"""Change of omega per unit of the mean cross product of distances."""

LENGTHS = (1.0, 0.5, 0.25, 0.125, 0.0)
"""Lengths of a Gauss-Newton step that are tried."""

SPINS = (-1.5, -0.5, 0.5, 1.5)
"""Values of omega from which a Gauss-Newton step may start."""

DAMPING = 1e-4
"""Damping of a Gauss-Newton step, relative to the mean square of a column of the Jacobian."""


class Path(NamedTuple):
    """Centres of mass along a simulation and its reversal, with the scene's markers."""

    ahead: jax.Array
    """c_i [steps + 1, 2], forwards from the true initial marker."""
    back: jax.Array
    """r_i [steps + 1, 2], backwards from the true final marker."""
    first: jax.Array
    """The true initial marker, [n, n]."""


Translation = Callable[[jax.Array, Path], tuple[jax.Array, jax.Array]]


def known_translation(velocity: jax.Array, path: Path) -> tuple[jax.Array, jax.Array]:
    """Return the scene's own translation and the swirl's assumed centres s_i [steps + 1, 2].

    The translation is that of the generator of scenes: exact, and without use of the final marker.
    s_0 = u T and s_i = u (steps - i) are the formulas of the published program; its unit of time is
    a step.
    """
    translation, steps = centring(path.first), len(path.ahead) - 1
    left = np.concatenate([[DURATION], np.arange(steps)[::-1]])
    return translation, jnp.asarray(left, translation.dtype)[:, None] * translation


def estimated_translation(velocity: jax.Array, path: Path) -> tuple[jax.Array, jax.Array]:
    """Return a translation corrected by the final centre of mass, and the swirl's centres.

    u = mean v0 + (r_0 - c_N) / T, and the swirl's centre is at u (T - t) after a reverse time t.
    """
    miss = path.back[0] - path.ahead[-1]
    translation = jnp.mean(velocity, axis=(0, 1)) + miss / DURATION
    left = DURATION * np.linspace(1, 0, len(path.ahead))
    return translation, jnp.asarray(left, translation.dtype)[:, None] * translation


TRANSLATIONS: dict[str, Translation] = {
    "known": known_translation,
    "estimated": estimated_translation,
}


def reverse_step(
    velocity: jax.Array,
    markers: tuple[jax.Array, jax.Array],
    simulate: Callable[[jax.Array, jax.Array], Flow],
    reverse: Callable[[jax.Array, jax.Array], Flow],
    translation: Translation,
) -> Motion:
    """Return a motion nearer to the true one than an initial velocity [n, n, 2].

    omega is that of the velocity, `spin_of`, plus GAIN mean_i (c_{N-i} - r_i) x (r_i - s_i): where
    the forward marker is ahead of the reversed one around the swirl's centre s_i, omega is too
    large. simulate(v0, marker) and reverse(final velocity on faces, marker) return rollouts.

    Source: arXiv 2109.15048, section 3.5, and its published program.
    """
    first, last = markers
    forward = simulate(velocity, first)
    backward = reverse(forward.velocity[-1], last)
    path = Path(centre_of_mass(forward.marker), centre_of_mass(backward.marker), first)
    u, centres = translation(velocity, path)
    turned = cross(path.ahead[::-1] - path.back, path.back - centres)
    return Motion(u, spin_of(velocity) + GAIN * jnp.mean(turned))


def gauss_newton_step(
    velocity: jax.Array,
    markers: tuple[jax.Array, jax.Array],
    simulate: Callable[[jax.Array, jax.Array], Flow],
    observe: Callable[[jax.Array], jax.Array],
) -> Motion:
    """Return the motion after a damped Gauss-Newton step on 1/2 |y - y*|^2 in (u_x, u_y, omega).

    y = observe(m) [|y|] of the final marker m. The step starts from the mean and `spin_of` the
    velocity [n, n, 2], or, where that has a lower loss, from one of SPINS with the translation
    that leads the final centre of mass to its place: a swirl turns a marker by up to 4 radians,
    and beyond one or two the loss has other minima. Three forward derivatives give dy/dq; the step
    is shortened to the best of LENGTHS.
    """
    first, last = markers
    n, target = velocity.shape[0], observe(last)
    u, wanted = jnp.mean(velocity, axis=(0, 1)), centre_of_mass(last)

    def moved(q: jax.Array) -> jax.Array:
        return simulate(Motion(q[:2], q[2]).velocity(n), first).marker[-1]

    def observed(q: jax.Array) -> jax.Array:
        return observe(moved(q))

    def losses(q: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum((jax.vmap(observed)(q) - target) ** 2, axis=-1)

    def centred(spin: jax.Array) -> jax.Array:
        miss = wanted - centre_of_mass(moved(jnp.append(u, spin)))
        return jnp.append(u + miss / DURATION, spin)

    others = jax.vmap(centred)(jnp.asarray(SPINS, u.dtype))
    starts = jnp.concatenate([jnp.append(u, spin_of(velocity))[None], others])
    q = starts[jnp.argmin(losses(starts))]
    slope, y = jax.jacfwd(lambda q: (observed(q),) * 2, has_aux=True)(q)
    normal = jnp.matmul(slope.T, slope, precision=HIGHEST)
    normal = normal + DAMPING * jnp.trace(normal) / 3 * jnp.eye(3, dtype=q.dtype)
    right = jnp.matmul(slope.T, target - y, precision=HIGHEST)
    step = jnp.linalg.solve(normal, right)
    q = shortened(q[None], step[None], losses, LENGTHS)[0]
    return Motion(q[:2], q[2])
