"""The problem `smoke_bucket`: steer smoke into a bucket by velocities near the borders."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx

from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.problems.fluid.bucket import (
    bucket_cells,
    controlled,
    domain,
    random_scene,
)
from physopt.problems.fluid.closed_flow import carried, move
from physopt.problems.fluid.control_networks import StraightLine
from physopt.problems.fluid.control_scenes import HierarchicalNetworks
from physopt.problems.fluid.flow import Flow
from physopt.problems.fluid.steering import Steering
from physopt.problems.fluid.walls import at_rest, project

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class SmokeBucket(Steering, HierarchicalNetworks):
    """Steer smoke into one of three buckets by velocities near the borders, behind obstacles.

    The unknown x [batch, steps, n, n, 2] are velocities u_i on the faces near the left, right and
    lower border; on others x has no effect. A step advects the velocity by itself, replaces it by
    u_i where it is controlled, and projects it to zero divergence between walls and obstacles, with
    an open top: v_i = P(u_i or Advect[v_{i-1}]); smoke is then moved by v_i. The fluid starts at
    rest. The middle moves since the fluid is incompressible. The force is what the control changes,
    F_i = u_i - Advect[v_{i-1}] on controlled faces.

    Loss 1/2 |B (rho_N - rho*)|^2 + alpha/2 sum F^2 with y = (B (rho_N - rho*), sqrt(alpha) F),
    [batch, 1 + 2 steps, n, n], as in `fluid_control`; rho* is a square in a bucket. outside is the
    share of the smoke that is not in this bucket in the end; other metrics are those of
    `fluid_control`.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2001.07457 (ICLR 2020), sections 6 and D.3.
    Obstacles that are thinner than a cell cover one, so that gaps are narrower at n = 32.
    """

    size: Annotated[int, Bounds(32)] = 32
    """Cells along each side; 128 in the source."""

    tolerance: PositiveFloat = 1e-4
    """Relative residual of the pressure. The gradient is that of a converged pressure: with a
    residual of per cents, after too few iterations, it is wrong."""

    iterations: PositiveInt = 400
    """Limit of the iterations of the pressure solver."""

    alpha: PositiveFloat = 1e-4
    """Weight of the force in the loss."""

    channels: ClassVar[int] = 2
    target: ClassVar = ("outside", 0.5)
    # The gradient is that of the converged pressure.
    tiny: ClassVar = {
        "steps": 2, "levels": 2, "filters": 4, "cg_steps": 1, "halvings": 1, "tolerance": 1e-9,
    }  # fmt: skip
    drawn: ClassVar = 3
    defaults: ClassVar = {
        "batch_size": 8, "steps": 200, "log_every": 50, "heldout_size": 32,
    }  # fmt: skip

    def sample(self, keys: jax.Array) -> Batch:
        """Draw squares of smoke and buckets; extra is the number of the bucket."""
        start, wanted, bucket = jax.vmap(lambda key: random_scene(key, self.size))(keys)
        shape = (len(keys), 1 + 2 * self.steps, self.size, self.size)
        target = jnp.zeros(shape, start.dtype)
        return Batch(jnp.stack([start, wanted], axis=-1), target, extra=bucket)

    def network_line(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make an estimator whose wanted densities move along a straight line."""
        return StraightLine(self, rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return velocities of zero."""
        shape = (len(batch), self.steps, self.size, self.size, 2)
        return jnp.zeros(shape, batch.inputs.dtype)

    def control(self, outputs: jax.Array) -> jax.Array:
        """Return control velocities [batch, n, n, 2], of about ten cells per step of 128 cells."""
        return 10 * self.size / 128 * outputs

    def at_rest(self, density: jax.Array) -> jax.Array:
        """Return velocities of zero, [batch, n, n, 2]."""
        return jnp.zeros((*density.shape, 2), density.dtype)

    def advance(
        self, hidden: jax.Array, density: jax.Array, control: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return velocities and densities after a step."""
        velocity, density, _ = jax.vmap(self._advance)(hidden, density, control)
        return velocity, density

    def observed(self, x: jax.Array, inputs: jax.Array, progress: jax.Array) -> jax.Array:
        """Return y of one sample, [1 + 2 steps, n, n]."""
        _, densities, forces = self.run(x, inputs[..., 0])
        return self.stacked(densities[-1] - inputs[..., 1], forces, progress)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the share of smoke outside the bucket, errors of the density, and the force."""
        end = jax.vmap(lambda x, start: self.run(x, start)[1][-1])(x, batch.inputs[..., 0])
        cells = jnp.asarray(bucket_cells(self.size), end.dtype)[batch.extra]
        inside = jnp.sum(cells * end, (1, 2)) / jnp.sum(batch.inputs[..., 0], (1, 2))
        return {"outside": 1 - inside, **self.measured(end, y, batch)}

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Evaluate a fluid at rest."""
        return {"rest": self.means(self.initial_unknowns(held_out), held_out)}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw film strips of smoke and velocity, of the target and as reached."""
        from physopt.problems.fluid.picture import draw_film_strips

        outside = self.metrics(x, y, batch)["outside"]
        titles = [f"{100 * (1 - share):.0f} % in the bucket" for share in outside]
        reached = self._flow(x, batch)
        return draw_film_strips(self._wanted(batch), reached, self.steps, titles)

    def film(self, x: jax.Array, batch: Batch) -> Mapping[str, jax.Array]:
        """Return the smoke's films, {name: [batch, times, n, n]}, with obstacles."""
        return {"target": self._wanted(batch).marker, "reached": self._flow(x, batch).marker}

    def _advance(
        self, velocity: jax.Array, density: jax.Array, control: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return velocity, density and force of one sample after a step."""
        geometry = domain(self.size)
        advected = at_rest(geometry, carried(velocity))
        mask = jnp.asarray(controlled(self.size), velocity.dtype)
        force = mask * (control - advected)
        solved = project(geometry, advected + force, tolerance=self.tolerance, most=self.iterations)
        return solved.velocity, move(density, solved.velocity), force

    def run(self, x: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return velocities, densities and forces of all steps of one sample, [steps, ...]."""

        def step(state: tuple[jax.Array, jax.Array], control: jax.Array):
            velocity, density, force = self._advance(*state, control)
            return (velocity, density), (velocity, density, force)

        rest = jnp.zeros((*start.shape, 2), start.dtype)
        return jax.lax.scan(step, (rest, start), x)[1]

    def _flow(self, x: jax.Array, batch: Batch) -> Flow:
        """Return the states [batch, steps + 1, ...], with obstacles of density 0.5."""
        start = batch.inputs[..., 0]
        velocity, density, _ = jax.jit(jax.vmap(self.run))(x, start)
        states = jnp.concatenate([start[:, None], density], axis=1)
        return Flow(jnp.concatenate([velocity[:, :1], velocity], axis=1), self._drawn(states))

    def _wanted(self, batch: Batch) -> Flow:
        """Return the target at all times, with obstacles."""
        shape = (len(batch), self.steps + 1, self.size, self.size)
        density = jnp.broadcast_to(batch.inputs[:, None, ..., 1], shape)
        return Flow(jnp.zeros((*shape, 2), density.dtype), self._drawn(density))

    def _drawn(self, density: jax.Array) -> jax.Array:
        """Return densities with obstacles of density 0.5, open cells excepted."""
        solid = 1 - domain(self.size).fluid
        solid[:, -1] = 0
        return jnp.where(jnp.asarray(solid, bool), 0.5, density)
