"""Chain of control force estimators: each force is computed from the state that it acts on."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.problems.burgers.scheme import advance

if TYPE_CHECKING:
    from physopt.problems.burgers.scenes import Scenes


class ControlForceEstimator(nnx.Module):
    """Chain of forces, initial and target field [batch, n, 2] -> forces [batch, steps, n].

    One U-net returns the force of every step from the current state, the target field and the time.
    The last force is the remaining difference, so that the target is met exactly. The U-net's
    output is scaled as in `DirectForce`. If taught, it returns the forces at all states of a
    trajectory [batch, steps + 1, n].

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457, section 4; its network has other
    layers.
    """

    def __init__(self, scenes: "Scenes", rngs: nnx.Rngs):
        self.unet = scenes.unet(3, 1, rngs, dimensions=1)
        self.steps, self.viscosity = scenes.steps, scenes.viscosity
        self.taught = scenes.taught

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the chain through the physics, or along a given trajectory if taught."""
        times = np.arange(self.steps - 1) / self.steps
        if self.taught:
            before, forces = inputs[:, -2], self._along(inputs, times)
            return self._closed(forces, before, inputs[:, -1])
        start, wanted = inputs[..., 0], inputs[..., 1]

        def step(u: jax.Array, time: jax.Array) -> tuple[jax.Array, jax.Array]:
            force = self._force(u, wanted, time)
            return advance(u, self.viscosity) + force, force

        before, forces = jax.lax.scan(step, start, jnp.asarray(times, start.dtype))
        return self._closed(jnp.swapaxes(forces, 0, 1), before, wanted)

    def _along(self, trajectory: jax.Array, times: np.ndarray) -> jax.Array:
        """Return the forces at all states except the last two: [batch, steps - 1, n]."""
        states = trajectory[:, :-2]
        wanted = jnp.broadcast_to(trajectory[:, -1:], states.shape)
        clock = jnp.broadcast_to(jnp.asarray(times, states.dtype)[:, None], states.shape)
        flat = (a.reshape(-1, a.shape[-1]) for a in (states, wanted, clock))
        return self._force(*flat).reshape(states.shape)

    def _force(self, u: jax.Array, wanted: jax.Array, time: jax.Array) -> jax.Array:
        fields = jnp.stack([u, wanted, jnp.broadcast_to(time, u.shape)], axis=-1)
        return self.unet(fields)[..., 0] / self.steps

    def _closed(self, forces: jax.Array, before: jax.Array, wanted: jax.Array) -> jax.Array:
        """Append the force that leads from the last but one state to the target."""
        closing = wanted - advance(before, self.viscosity)
        return jnp.concatenate([forces, closing[:, None]], axis=1)
