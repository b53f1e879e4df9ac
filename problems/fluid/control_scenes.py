"""Options, networks and physics shared by control of smoke and its supervised training."""

import dataclasses
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.networks.unet import UNetOptions
from physopt.options import Bounds, NonNegativeFloat, OptionError, PositiveInt
from physopt.problem import Problem
from physopt.problems.fluid.closed_flow import move, natural_flow
from physopt.problems.fluid.control_networks import (
    AllAtOnce,
    EstimatorChain,
    HierarchicalControl,
)
from physopt.problems.fluid.smoke_scenes import random_patches, random_velocity
from physopt.problems.fluid.stream import curl
from physopt.problems.predictor_corrector import Hidden


class Trajectory(NamedTuple):
    """A natural flow."""

    density: jax.Array
    """[..., steps + 1, n, n]"""
    velocity: jax.Array
    """[..., steps, n, n, 2]"""


@dataclasses.dataclass(frozen=True)
class HierarchicalNetworks(UNetOptions, Problem):
    """Networks of problems whose controls act in `steps` time steps."""

    steps: Annotated[int, Bounds(2)] = 8
    """Time steps; a power of two for network=staggered or refined."""

    levels: PositiveInt = 3
    """Number of resolutions of the U-nets; each halves the grid."""

    filters: PositiveInt = 8
    """Channels of the U-nets."""

    taught: ClassVar[bool] = False
    """Whether networks receive the densities at all times instead of initial and target density."""
    channels: ClassVar[int] = 1
    """Numbers per cell of the control of a step."""

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a U-net, initial and target density -> all controls."""
        return AllAtOnce(self, rngs)

    def network_cfe(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a chain of control force estimators, which receives the density of every step."""
        return EstimatorChain(self, rngs)

    def network_staggered(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make predictors of an interval's centre, one for each length, and an estimator."""
        self._must_halve("staggered")
        return HierarchicalControl(self, rngs, refined=False)

    def network_refined(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the same networks, with predictions refined as densities are reached."""
        self._must_halve("refined")
        return HierarchicalControl(self, rngs, refined=True)

    def control(self, outputs: jax.Array) -> jax.Array:
        """Return the control of a step from a network's outputs [batch, n, n, channels]."""
        raise NotImplementedError

    def at_rest(self, density: jax.Array) -> Hidden:
        """Return the hidden state of a fluid at rest, for densities [batch, n, n]."""
        raise NotImplementedError

    def advance(
        self, hidden: Hidden, density: jax.Array, control: jax.Array
    ) -> tuple[Hidden, jax.Array]:
        """Return hidden state and density [batch, n, n] after a step."""
        raise NotImplementedError

    def _must_halve(self, network: str) -> None:
        if self.steps & (self.steps - 1):
            reason = f"network={network} halves intervals: must be a power of two"
            raise OptionError(type(self), "steps", self.steps, reason)


@dataclasses.dataclass(frozen=True)
class ControlScenes(HierarchicalNetworks):
    """Smoke in a closed box that is moved by velocities without divergence."""

    size: Annotated[int, Bounds(8)] = 32
    """Cells along each side; 128 in the source, 64 in its revised program."""

    speed: NonNegativeFloat = 2.0
    """Mean scale of the velocities of natural flows, in cells per step."""

    lift: NonNegativeFloat = 0.0
    """Acceleration of smoke of density 1 in natural flows, upwards, in cells per step squared."""

    tiny: ClassVar = {"size": 8, "steps": 2, "levels": 2, "filters": 4}

    def natural(self, keys: jax.Array) -> Trajectory:
        """Draw natural flows, leaves [batch, ...]."""

        def draw(key: jax.Array) -> Trajectory:
            of_density, of_velocity = jax.random.split(key)
            density = random_patches(of_density, self.size)
            velocity = random_velocity(of_velocity, self.size, self.speed)
            return Trajectory(*natural_flow(density, velocity, self.steps, self.lift))

        return jax.vmap(draw)(keys)

    def control(self, outputs: jax.Array) -> jax.Array:
        """Return stream functions [batch, n, n], of velocities of about one cell per step."""
        return self.size / 16 * outputs[..., 0]

    def at_rest(self, density: jax.Array) -> tuple[()]:
        """Return no hidden state: a control sets the whole velocity."""
        return ()

    def advance(
        self, hidden: tuple[()], density: jax.Array, control: jax.Array
    ) -> tuple[tuple[()], jax.Array]:
        """Return the density [batch, n, n] after a step under stream functions [batch, n, n]."""
        return hidden, jax.vmap(lambda density, stream: move(density, curl(stream)))(
            density, control
        )


def moved(density: jax.Array, velocities: jax.Array) -> jax.Array:
    """Return the densities [steps + 1, n, n] of smoke [n, n] under velocities [steps, n, n, 2]."""

    def step(density: jax.Array, velocity: jax.Array) -> tuple[jax.Array, jax.Array]:
        density = move(density, velocity)
        return density, density

    _, later = jax.lax.scan(step, density, velocities)
    return jnp.concatenate([density[None], later])
