"""The problem `fluid_control`: lead smoke from one density to another by a controlled velocity."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp

from physopt.numerics.keys import normal
from physopt.problem import Batch
from physopt.problems.fluid.closed_flow import carried, natural_flow, without_divergence
from physopt.problems.fluid.control_scenes import ControlScenes, moved
from physopt.problems.fluid.flow import Flow
from physopt.problems.fluid.smoke_scenes import random_shape
from physopt.problems.fluid.steering import Steering
from physopt.problems.fluid.stream import curl, low_pass, stream_function

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES = 16.0
"""Ratio of the finest to the coarsest resolution of multi-scale shooting."""

REST = 0.01
"""Standard deviation of initial stream functions, those of a fluid nearly at rest."""


@dataclasses.dataclass(frozen=True)
class FluidControl(Steering, ControlScenes):
    """Control the velocity of a fluid so that smoke rho_0 becomes rho*: inviscid, in a closed box.

    The unknown x [batch, steps, n, n] are stream functions psi_i of the velocities v_i = curl psi_i
    of every step, which have no divergence: rho_i = rho_{i-1} advected by v_i, i = 1 ... steps.
    The force F_i = v_{i+1} - P(v_i), i = 1 ... steps - 1, is what is added to the natural step P:
    self-advection and pressure. The first velocity is free. With pressure=false the force includes
    what the pressure would have done, as in the source's program.

    Loss 1/2 |B (rho_N - rho*)|^2 + alpha/2 sum F^2, a sum of squares with y = (B (rho_N - rho*),
    sqrt(alpha) F), [batch, 1 + 2 (steps - 1), n, n]. B blurs with a radius that shrinks from
    coarse_blur to fine_blur in the course of training, see `blur`. observation_error = |rho_N -
    rho*| / |rho*|, observation_l2 = |B (rho_N - rho*)|^2, force_half_l2 = 1/2 sum F^2, and
    mass_error = |sum rho_N / sum rho_0 - 1|; all fields have the spacing 1.

    scenes=natural: patches of smoke in a natural flow, whose own velocities have loss 0 where
    lift=0. scenes=shapes: two of ten basic shapes, which no flow turns into each other exactly,
    since advection blurs.

    Source: P. Holl, V. Koltun, N. Thuerey, "Learning to control PDEs with differentiable physics",
    ICLR 2020, arXiv 2001.07457, sections 6 and D.2, where the sides are open.
    """

    scenes: Literal["natural", "shapes"] = "natural"
    """Initial and target densities; 64 and 16 steps in the source."""

    pressure: bool = True
    """Whether the natural step contains the pressure, and the force only the rest."""

    multiscale: bool = False
    """Whether coarse stream functions are found first: waves of up to n / 16 half periods per side
    in the beginning, and of up to n from the middle of training on."""

    target: ClassVar = ("observation_error", 0.3)
    drawn: ClassVar = 3
    defaults: ClassVar = {
        "batch_size": 8, "steps": 300, "log_every": 50, "heldout_size": 32,
    }  # fmt: skip

    def sample(self, keys: jax.Array) -> Batch:
        """Draw initial and target densities; extra holds the velocity of the first natural step."""
        start, wanted, first = {"natural": self._natural, "shapes": self._shapes}[self.scenes](keys)
        fields = 1 + 2 * (self.steps - 1)
        target = jnp.zeros((len(keys), fields, self.size, self.size), start.dtype)
        return Batch(jnp.stack([start, wanted], axis=-1), target, extra=first)

    def draw_unknowns(self, keys: jax.Array) -> jax.Array:
        """Draw small stream functions, [batch, steps, n, n]."""
        shape = (self.steps, self.size, self.size)
        return REST * jax.vmap(lambda key: normal(key, shape))(keys)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return errors of the reached density, and the force."""
        return self.measured(self.flow(x, batch.inputs[..., 0]).marker[:, -1], y, batch)

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Evaluate a fluid at rest, and the natural flow of the scenes."""
        natural = self._stream(held_out)
        methods = {"rest": jnp.zeros_like(natural), "natural": natural}
        return {name: self.means(x, held_out) for name, x in methods.items()}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw film strips of smoke and velocity, of the natural flow and as reached."""
        from physopt.problems.fluid.picture import draw_film_strips

        metrics = self.metrics(x, y, batch)
        titles = [
            f"observation error {100 * error:.0f} %, force {force:.3g}"
            for error, force in zip(
                metrics["observation_error"], metrics["force_half_l2"], strict=True
            )
        ]
        return draw_film_strips(
            self._wanted(batch), self.flow(x, batch.inputs[..., 0]), self.steps, titles
        )

    def film(self, x: jax.Array, batch: Batch) -> Mapping[str, jax.Array]:
        """Return the smoke's films, {name: [batch, times, n, n]}."""
        reached = self.flow(x, batch.inputs[..., 0]).marker
        return {"target": self._wanted(batch).marker, "reached": reached}

    def flow(self, x: jax.Array, start: jax.Array) -> Flow:
        """Return the states at the times 0 ... steps, leaves [batch, steps + 1, ...].

        The velocity at a time is that of the step before it; at 0 it is that of the first step.
        """

        def run(stream: jax.Array, start: jax.Array) -> Flow:
            velocity = jax.vmap(curl)(stream)
            return Flow(jnp.concatenate([velocity[:1], velocity]), moved(start, velocity))

        return jax.vmap(run)(x, start)

    def observed(self, x: jax.Array, inputs: jax.Array, progress: jax.Array) -> jax.Array:
        """Return y of one sample, [1 + 2 (steps - 1), n, n]."""
        start, wanted = inputs[..., 0], inputs[..., 1]
        stream = self._coarse(x, progress) if self.multiscale else x
        velocity = jax.vmap(curl)(stream)
        force = velocity[1:] - jax.vmap(self._naturally)(velocity[:-1])
        return self.stacked(moved(start, velocity)[-1] - wanted, force, progress)

    def _coarse(self, x: jax.Array, progress: jax.Array) -> jax.Array:
        """Return the part of stream functions that is free at a progress of training."""
        cutoff = self.size / SCALES * SCALES ** jnp.minimum(2 * progress, 1)
        return jax.vmap(low_pass, in_axes=(0, None))(x, cutoff)

    def _naturally(self, velocity: jax.Array) -> jax.Array:
        """Return the velocity [n, n, 2] after a step without a force."""
        velocity = carried(velocity)
        return without_divergence(velocity) if self.pressure else velocity

    def _natural(self, keys: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Draw both ends of natural flows, and their first velocities."""
        flow = self.natural(keys)
        return flow.density[:, 0], flow.density[:, -1], flow.velocity[:, 0]

    def _shapes(self, keys: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Draw two shapes per key, and a fluid at rest."""
        both = jax.vmap(lambda key: jax.random.split(key))(keys)
        start, wanted = (
            jax.vmap(partial(random_shape, n=self.size))(both[:, side]) for side in (0, 1)
        )
        return start, wanted, jnp.zeros((*start.shape, 2), start.dtype)

    def _naturals(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return densities and velocities of the natural flows of scenes."""
        run = partial(natural_flow, steps=self.steps, lift=self.lift)
        return jax.vmap(run)(batch.inputs[..., 0], batch.extra)

    def _stream(self, batch: Batch) -> jax.Array:
        """Return the stream functions of the natural flows."""
        return jax.vmap(jax.vmap(stream_function))(self._naturals(batch)[1])

    def _wanted(self, batch: Batch) -> Flow:
        """Return a flow to compare with: the natural one, or the target shape at all times."""
        density, velocity = self._naturals(batch)
        if self.scenes == "shapes":
            density = jnp.broadcast_to(batch.inputs[:, None, ..., 1], density.shape)
        return Flow(jnp.concatenate([velocity[:, :1], velocity], axis=1), density)
