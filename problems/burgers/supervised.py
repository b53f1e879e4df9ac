"""Supervised training on Burgers' equation: forces against those of the generated scenes."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from physopt.problem import Batch
from physopt.problems.burgers.scenes import Scenes
from physopt.problems.burgers.scheme import advance


@dataclasses.dataclass(frozen=True)
class BurgersSupervised(Scenes):
    """Learn the forces that moved a scene: y = x, without physics to differentiate.

    Inputs are true trajectories [batch, steps + 1, n]; x, y and y* [batch, steps, n] are forces. A
    network is shown the true states where it would see its own when it controls; it has the
    parameters that it has in `burgers`, which a run there can begin with (`start`). Loss
    1/2 sum (F - F*)^2; for network=staggered and refined F - F* is the error of a predicted state.
    force_error = |F - F*| / |F*|. Forces that lead to one end are not unique, so that the mean of
    them, which is learnt, may lead nowhere: hence the training with physics afterwards.

    Source: P. Holl, V. Koltun, N. Thuerey, "Learning to control PDEs with differentiable physics",
    ICLR 2020, arXiv 2001.07457, section 5.
    """

    taught: ClassVar = True
    target: ClassVar = ("force_error", 0.5)
    defaults: ClassVar = {"batch_size": 16, "steps": 1000, "log_every": 50}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw trajectories [batch, steps + 1, n] and their forces [batch, steps, n]."""
        frames = self.trajectories(keys)
        forces = frames[:, 1:] - advance(frames[:, :-1], self.viscosity)
        return Batch(inputs=frames, target=forces)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the forces."""
        return x

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the relative error of the forces."""
        error, size = (jnp.linalg.norm(a, axis=(1, 2)) for a in (x - batch.target, batch.target))
        return {"force_error": error / size}
