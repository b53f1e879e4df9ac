"""Nonlinear oscillators: steer two coupled masses back to their initial state."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem

FORCE = 3.0


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

        def step(state: jax.Array, control: jax.Array) -> tuple[jax.Array, None]:
            return runge_kutta(state, control, self.time_step), None

        final, _ = jax.lax.scan(step, batch.extra.T, x.T)
        return final.T

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return |y - y*|^2."""
        return {"squared_error": jnp.sum((y - batch.target) ** 2, axis=-1)}


def velocity(state: jax.Array, control: jax.Array) -> jax.Array:
    """Return the time derivative of (q0, q1, q0', q1'): [4, batch] at controls [batch]."""
    q0, q1, p0, p1 = state
    coupling = (q1 - q0) ** 3
    return jnp.stack([p0, p1, coupling - q0, FORCE * control - coupling - q1])


def runge_kutta(state: jax.Array, control: jax.Array, time_step: float) -> jax.Array:
    """Advance states [4, batch] by a classical Runge-Kutta step at constant control."""
    k1 = velocity(state, control)
    k2 = velocity(state + time_step / 2 * k1, control)
    k3 = velocity(state + time_step / 2 * k2, control)
    k4 = velocity(state + time_step * k3, control)
    return state + time_step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
