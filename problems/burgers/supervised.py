"""Supervised training on Burgers' equation: learn the forces of the generated scenes."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problem import Batch
from physopt.problems.burgers.scenes import Scenes
from physopt.problems.burgers.scheme import advance
from physopt.problems.fields import relative_l2, squared_norms


@dataclasses.dataclass(frozen=True)
class BurgersSupervised(Scenes):
    """Learn the forces that drove a scene: y = x, without physics to differentiate.

    Inputs are true trajectories [batch, steps + 1, n]; x, y and y* [batch, steps, n] are forces. A
    network receives the true states in place of the ones that it reaches under control; its
    parameters are those in `burgers`, where a run can start from them (`start`). Loss 1/2 sum (F -
    F*)^2; for network=staggered and refined F - F* is the error of a predicted state. force_error =
    |F - F*| / |F*| of a sample, and force_relative_l2 the same over a set. Forces that lead to one
    end state are not unique, and their mean, which is learnt, need not lead there: hence the
    subsequent training with physics.

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

    def set_terms(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the squared norms of F - F* and of F*."""
        return squared_norms(x - batch.target, batch.target)

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the relative L2 error of the forces over a set."""
        return {"force_relative_l2": relative_l2(terms)}
