"""Work of single trajectories under a stepwise protocol.

The control is constant within a step, during which the particle exchanges heat with the bath, and
work is done where it jumps. A step is an exact Ornstein-Uhlenbeck process, so that the steps of
the control are the only approximation, of second order in their length.

Source: M. C. Engel, J. A. Smith, M. P. Brenner, Phys. Rev. X 13, 041032 (2023), arXiv 2201.00098,
which differentiates the work of trajectories, of overdamped Langevin dynamics too.
"""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.trap.traps import HarmonicTrap


def step_times(steps: int) -> np.ndarray:
    """Return the middles of all steps as parts of the duration, [steps]."""
    return (np.arange(steps) + 0.5) / steps


def works(
    trap: HarmonicTrap, control: jax.Array, goal: jax.Array, time: jax.Array, noise: jax.Array
) -> jax.Array:
    """Return the work of each trajectory, [batch, trajectories].

    control [batch, steps]; noise [batch, trajectories, steps + 1] are standard normal numbers, the
    first of which is the position in equilibrium at an initial stiffness of 1.
    """
    step = (time / control.shape[1])[:, None]

    def advance(
        state: tuple[jax.Array, jax.Array, jax.Array], now: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], None]:
        x, before, work = state
        control, noise = jnp.expand_dims(now[0], 1), now[1]
        work = work + trap.energy(x, control) - trap.energy(x, before)
        return (trap.relax(x, control, step, noise), control, work), None

    x = noise[:, :, 0]
    before = jnp.full((len(control), 1), trap.before, control.dtype)
    start = (x, before, jnp.zeros_like(x))
    noises = jnp.moveaxis(noise[:, :, 1:], 2, 0)
    (x, last, work), _ = jax.lax.scan(advance, start, (control.T, noises))
    return work + trap.energy(x, goal[:, None]) - trap.energy(x, last)
