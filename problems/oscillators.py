"""Nonlinear oscillators: steer two coupled masses back to their initial state."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.machine.devices import has_triton
from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.numerics.random_subset import elementwise
from physopt.numerics.time_kernel import Kernel
from physopt.numerics.trajectory import integrate
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem

FORCE = 3.0

State = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""Position of both masses, then their velocities."""

Coupling = Callable[[jax.Array], jax.Array]
"""Distance of the masses -> force of the spring between them."""


@dataclasses.dataclass(frozen=True)
class Oscillators(Problem):
    """Two unit masses on springs, coupled by a cubic force, with a control on the second mass.

    q0'' = -q0 + (q1 - q0)^3,  q1'' = -q1 - (q1 - q0)^3 + 3 u(t),  t in [0, 12]. The unknown
    x [batch, steps] is u, constant within a step of the fourth-order Runge-Kutta scheme; y and y*
    [batch, 4] are (q0, q1, q0', q1') at the end and at the beginning, which is drawn from
    U[0, 1]^4. Loss 1/2 |y - y*|^2; squared_error is |y - y*|^2, the loss of the source. The
    coupling and its sign are those of the source's program and differ from the published text.

    Source: P. Schnell, P. Holl, N. Thuerey, arXiv 2203.10131, section 3.1.
    """

    steps: PositiveInt = 96
    """Steps of the integrator, each with its own control."""

    time_step: PositiveFloat = 0.125
    """Length of a step; a free mass oscillates with period 2 pi."""

    hidden: tuple[PositiveInt, ...] = (20, 20, 20)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("squared_error", 1e-3)
    tiny: ClassVar = {"steps": 12, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 32, "steps": 2000, "log_every": 50}
    rule_defaults: ClassVar = {
        "muon": {"learning_rate": 5e-4},
    }

    def sample(self, keys: jax.Array) -> Batch:
        """Draw initial states [batch, 4], which are also the targets."""
        state = jax.vmap(lambda key: jax.random.uniform(key, (4,)))(keys)
        return Batch(inputs=state, target=state, extra=state)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense ReLU network, state [batch, 4] -> control [batch, steps]."""
        sizes = (4, *self.hidden, self.steps)
        return initialize(Dense(sizes, rngs, activation="relu"), rngs, "glorot")

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Integrate the motion: controls [batch, steps] -> final state [batch, 4]."""

        kernel = Kernel() if has_triton() else None
        return final_state(x, batch.extra, self.time_step, kernel)

    def simulate_randomized(
        self, x: jax.Array, batch: Batch, key: jax.Array, fraction: float
    ) -> jax.Array:
        """Return `simulate`, keeping a random part of the coupling's slopes for the way back.

        These 3 (q1 - q0)^2, four for each step and sample, are the only activations.
        """

        def step(state: State, now: tuple[jax.Array, jax.Array]) -> tuple[State, None]:
            control, keys = now
            couplings = [partial(elementwise, cubed, key=key, fraction=fraction) for key in keys]
            return runge_kutta(state, control, self.time_step, couplings), None

        q0, q1, p0, p1 = batch.extra.T
        keys = jax.random.split(key, (self.steps, 4))
        final, _ = jax.lax.scan(step, (q0, q1, p0, p1), (x.T, keys))
        return jnp.stack(final, axis=1)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |y - y*|^2."""
        return {"squared_error": jnp.sum((y - batch.target) ** 2, axis=-1)}


def final_state(
    control: jax.Array, start: jax.Array, time_step: float, kernel: Kernel | None
) -> jax.Array:
    """Integrate from states [batch, 4] under controls [batch, steps]: final states [batch, 4]."""

    def step(state: State, control: jax.Array) -> tuple[State, None]:
        return runge_kutta(state, control, time_step), None

    q0, q1, p0, p1 = start.T
    final, _ = integrate(step, (q0, q1, p0, p1), control.T, kernel)
    return jnp.stack(final, axis=1)


def cubed(distance: jax.Array) -> jax.Array:
    """Return the force of the spring between the masses."""
    return distance**3


def velocity(state: State, control: jax.Array, coupling: Coupling) -> State:
    """Return the time derivative of (q0, q1, q0', q1') at a control."""
    q0, q1, p0, p1 = state
    force = coupling(q1 - q0)
    return p0, p1, force - q0, FORCE * control - force - q1


def runge_kutta(
    state: State, control: jax.Array, time_step: float, couplings: Sequence[Coupling] = (cubed,) * 4
) -> State:
    """Advance a state by a classical Runge-Kutta step at constant control.

    couplings: the force of each of the four stages.
    """
    first, second, third, fourth = couplings

    def shifted(slope: State, duration: float) -> State:
        return jax.tree.map(lambda a, k: a + duration * k, state, slope)

    k1 = velocity(state, control, first)
    k2 = velocity(shifted(k1, time_step / 2), control, second)
    k3 = velocity(shifted(k2, time_step / 2), control, third)
    k4 = velocity(shifted(k3, time_step), control, fourth)
    mean = jax.tree.map(lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, k1, k2, k3, k4)
    return shifted(mean, time_step)
