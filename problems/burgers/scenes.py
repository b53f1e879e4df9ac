"""Scenes and networks shared by control of and supervised training on Burgers' equation."""

import dataclasses
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.unet import UNetOptions
from physopt.numerics.time_kernel import Kernel
from physopt.numerics.trajectory import integrate
from physopt.options import Bounds, OptionError, PositiveInt
from physopt.problem import Problem
from physopt.problems.burgers.chain import ControlForceEstimator
from physopt.problems.burgers.direct import DirectForce
from physopt.problems.burgers.refined import RefinedPrediction
from physopt.problems.burgers.scheme import advance_in, kernel_for, random_scene
from physopt.problems.burgers.staggered import StaggeredPrediction


@dataclasses.dataclass(frozen=True)
class Scenes(UNetOptions, Problem):
    """Velocity fields on a line, driven by a force constant in time, and networks for forces."""

    cells: Annotated[int, Bounds(4)] = 32
    """Cells of the velocity field; a GPU is fast with powers of two up to 128."""

    steps: Annotated[int, Bounds(2)] = 32
    """Time steps, each with its own force; a power of two for network=staggered or refined."""

    viscosity: Annotated[float, Bounds(0, 0.5)] = 0.1
    """Viscosity in cells squared per step; the explicit scheme is unstable above 0.5."""

    hidden: tuple[PositiveInt, ...] = (128, 128)
    """Widths of the default network's hidden layers."""

    levels: PositiveInt = 5
    """Resolution levels of the other networks' U-nets; each halves the grid."""

    taught: ClassVar[bool] = False
    """Whether networks receive whole trajectories instead of initial and target field."""

    tiny: ClassVar = {"cells": 8, "steps": 4, "hidden": (16,), "levels": 2, "filters": 4}

    def trajectories(self, keys: jax.Array) -> jax.Array:
        """Draw scenes and integrate them under the driving force: [batch, steps + 1, n]."""
        start, drive, mirrored = jax.vmap(lambda key: random_scene(key, self.cells))(keys)
        later = driven(start, drive, self.steps, self.viscosity, kernel_for(self.cells))
        frames = jnp.concatenate([start[:, None], jnp.swapaxes(later, 0, 1)], axis=1)
        return jnp.where(mirrored[:, None, None], -frames[:, :, ::-1], frames)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense network, initial and target field -> all forces."""
        return DirectForce(self, rngs)

    def network_cfe(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a chain of control force estimators, which receives the state of every step."""
        return ControlForceEstimator(self, rngs)

    def network_staggered(self, rngs: nnx.Rngs) -> StaggeredPrediction:
        """Make predictors of an interval's centre, one for each length down to two steps."""
        self._must_halve("staggered")
        return StaggeredPrediction(self, rngs)

    def network_refined(self, rngs: nnx.Rngs) -> RefinedPrediction:
        """Make the same predictors, with predictions refined as states are reached."""
        self._must_halve("refined")
        return RefinedPrediction(self, rngs)

    def _must_halve(self, network: str) -> None:
        if self.steps & (self.steps - 1):
            reason = f"network={network} halves intervals: must be a power of two"
            raise OptionError(type(self), "steps", self.steps, reason)


def driven(
    start: jax.Array, drive: jax.Array, steps: int, viscosity: float, kernel: Kernel | None
) -> jax.Array:
    """Return the states [steps, batch, n] after each step under a constant force [batch, n]."""
    advanced = advance_in(kernel)

    def step(fields: tuple[jax.Array, jax.Array], _: None) -> tuple[Any, jax.Array]:
        u, drive = fields
        u = advanced(u + drive, viscosity)
        return (u, drive), u

    return integrate(step, (start, drive), None, kernel, steps)[1]
