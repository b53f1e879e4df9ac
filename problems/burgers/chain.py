"""Chain of control force estimators: each force is computed from the state that it acts on."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.problems.burgers.scheme import advance
from physopt.problems.predictor_corrector import along, chain

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
            # The last two states have no force of the network's own.
            before, wanted = inputs[:, -2], inputs[:, -1]
            forces = along(self._force, inputs[:, :-2], wanted, times)
        else:
            start, wanted = inputs[..., 0], inputs[..., 1]
            before, forces = chain(self._correct, (), start, wanted, times)
        closing = wanted - advance(before, self.viscosity)
        return jnp.concatenate([forces, closing[:, None]], axis=1)

    def _correct(
        self, hidden: tuple[()], u: jax.Array, wanted: jax.Array, time: jax.Array
    ) -> tuple[tuple[()], jax.Array, jax.Array]:
        force = self._force(u, wanted, time)
        return hidden, advance(u, self.viscosity) + force, force

    def _force(self, u: jax.Array, wanted: jax.Array, time: jax.Array) -> jax.Array:
        fields = jnp.stack([u, wanted, jnp.broadcast_to(time, u.shape)], axis=-1)
        return self.unet(fields)[..., 0] / self.steps
