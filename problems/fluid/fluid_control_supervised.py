"""The problem `fluid_control_supervised`: learn densities and velocities of natural flows."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from physopt.problem import Batch
from physopt.problems.fields import LARGE_OUTPUT
from physopt.problems.fluid.control_scenes import ControlScenes
from physopt.problems.fluid.stream import curl


@dataclasses.dataclass(frozen=True)
class FluidControlSupervised(ControlScenes):
    """Learn half-way densities and the velocities of natural flows, without their physics.

    Inputs are true densities [batch, steps + 1, n, n]. x = {density [batch, steps + 1, n, n],
    control [batch, steps, n, n]}: predicted densities, and stream functions psi of velocities
    between true densities; y = (density, curl psi). A network receives true densities in place of
    the ones that it reaches under control; its parameters are those in `fluid_control`, where a run
    can start from them (`start`). Loss 1/2 |y - y*|^2. density_error = |rho - rho*| / |rho*| over
    all times, 0 for networks that predict no densities; velocity_error = |v - v*| / |v*|, which
    stays large, since smoke shows the velocity only where its density varies.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457, sections 5 and D.2.
    """

    taught: ClassVar = True
    target: ClassVar = ("velocity_error", 0.8)
    rule_defaults: ClassVar = LARGE_OUTPUT
    defaults: ClassVar = {
        "batch_size": 8, "steps": 300, "log_every": 50, "heldout_size": 32,
    }  # fmt: skip

    def sample(self, keys: jax.Array) -> Batch:
        """Draw natural flows."""
        flow = self.natural(keys)
        return Batch(flow.density, {"density": flow.density, "velocity": flow.velocity})

    def simulate(self, x: Any, batch: Batch) -> Any:
        """Return densities and velocities."""
        return {"density": x["density"], "velocity": jax.vmap(jax.vmap(curl))(x["control"])}

    def metrics(self, x: Any, y: Any, batch: Batch) -> dict[str, jax.Array]:
        """Return relative errors of densities and velocities."""
        return {
            f"{name}_error": _norm(y[name] - batch.target[name])
            / jnp.maximum(_norm(batch.target[name]), 1)  # a scene may have no smoke
            for name in ("density", "velocity")
        }


def _norm(field: jax.Array) -> jax.Array:
    """Return the norm of each sample, [batch]."""
    return jnp.sqrt(jnp.sum(field**2, axis=tuple(range(1, field.ndim))))
