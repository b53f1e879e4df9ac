"""Billiards: a shot that brings a ball to a target."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.numerics.jacobian import pushed_columns
from physopt.options import Bounds, NonNegativeFloat, PositiveFloat, PositiveInt, UnitFloat
from physopt.problem import Batch, Problem
from physopt.problems.local_minima.collisions import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CUE = (0.3, 0.5)
"""Position of the cue ball at first."""

FIRST, SPACING = 1.0, 0.2
"""Distance of the first ball from the left cushion, and of one ball from the next."""

TARGET = 1.6
"""Distance of the target from the left cushion."""

SHOT = (0.5, 0.0)
"""u at x = 0: a shot of middling strength along the table."""


@dataclasses.dataclass(frozen=True)
class Billiards(Problem):
    """Shoot the cue ball so that another ball is at a target after a time.

    The table is 2 long and 1 wide, balls have a radius of 0.05 and unit mass, pairs and cushions
    collide by impulses: see `physopt.problems.local_minima.collisions`. The cue ball starts at
    (0.3, 0.5), the balls at rest at 1, 1.2, ... along the table and 0.5 + U(-0.2, 0.2) across it.
    The unknown x [batch, 2] is the shot: u = x + (0.5, 0), v_0 = speed u / sqrt(1 + |u|^2). y
    [batch, 2] is the final position of the last ball, y* = (1.6, U(0.2, 0.8)). Loss 1/2 |y - y*|^2;
    distance is |y - y*|; untouched is 1 for a last ball that did not move.

    A shot that misses has a gradient of exactly zero. With several balls it has to pass through a
    chain of collisions, each of which magnifies its error.

    Source: the problem is named by arXiv 2408.08119; geometry and values are this project's own.
    """

    balls: Annotated[int, Bounds(1, 3)] = 1
    """Balls beside the cue ball; the last one has the target."""

    speed: PositiveFloat = 3.0
    """Largest speed of a shot."""

    elasticity: UnitFloat = 0.8
    """Fraction of the normal velocity that a collision keeps; 1 conserves energy."""

    drag: NonNegativeFloat = 0.3
    """Rate at which velocities decay, per unit of time."""

    duration: PositiveFloat = 2.0
    """Time of the shot."""

    steps: PositiveInt = 60
    """Steps of the integrator."""

    hidden: tuple[PositiveInt, ...] = (64, 64)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("distance", 0.05)
    tiny: ClassVar = {"steps": 24, "hidden": (8,)}
    defaults: ClassVar = {"batch_size": 64, "steps": 1000, "log_every": 50}

    @property
    def table(self) -> Table:
        """The table."""
        return Table((2.0, 1.0), 0.05, self.elasticity, self.drag)

    def sample(self, keys: jax.Array) -> Batch:
        """Draw positions of the balls, and the target."""
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (self.balls + 1,)))(keys)
        across = 0.5 + 0.4 * (uniform[:, 1:] - 0.5)
        along = FIRST + SPACING * np.arange(self.balls)
        balls = jnp.stack(jnp.broadcast_arrays(jnp.asarray(along, across.dtype), across), axis=2)
        target = jnp.stack([jnp.full(len(keys), TARGET), 0.2 + 0.6 * uniform[:, 0]], axis=1)
        inputs = jnp.concatenate([across, target[:, 1:]], axis=1) - 0.5
        return Batch(inputs=inputs, target=target, extra=balls)

    def draw_unknowns(self, keys: jax.Array) -> jax.Array:
        """Draw shots, u - (0.5, 0) from a standard normal distribution."""
        return jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense tanh network, positions across the table [batch, balls + 1] -> shot."""
        return initialize(Dense((self.balls + 1, *self.hidden, 2), rngs), rngs, "glorot")

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the final position of the last ball, [batch, 2]."""
        return self.paths(x, batch)[:, -1, -1]

    def paths(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the positions of all balls after each step, [batch, steps, balls + 1, 2]."""

        def of_one(velocity: jax.Array, balls: jax.Array) -> jax.Array:
            position = jnp.concatenate([jnp.asarray([CUE], balls.dtype), balls])
            start = jnp.zeros_like(position).at[0].set(velocity)
            return self.table.path(position, start, self.steps, self.duration / self.steps)[0]

        return jax.vmap(of_one)(self.shot(x), batch.extra)

    def shot(self, x: jax.Array) -> jax.Array:
        """Return v_0, [batch, 2]."""
        u = x + jnp.asarray(SHOT, x.dtype)
        return self.speed * u / jnp.sqrt(1 + jnp.sum(u * u, axis=1, keepdims=True))

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx by forward differentiation."""
        return pushed_columns(lambda x: self.simulate(x, batch), x)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the distance from the target, and whether the last ball stayed where it was."""
        distance = jnp.linalg.norm(y - batch.target, axis=1)
        rest = jnp.all(y == batch.extra[:, -1], axis=1)
        return {"distance": distance, "untouched": rest.astype(y.dtype)}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw the paths of all balls."""
        from physopt.problems.local_minima.picture import draw_shots

        start = jnp.concatenate(
            [jnp.broadcast_to(jnp.asarray(CUE), (len(x), 1, 2)), batch.extra], 1
        )
        paths = jnp.concatenate([start[:, None], self.paths(x, batch)], axis=1)
        return draw_shots(paths, batch.target, self.table.size, self.table.radius)
