"""Balls on a rectangular table: free motion with drag, and collisions by impulses.

All balls have unit mass and one radius. Within a step they move straight, and the first collision
of two balls takes place at the exact time at which they touch: the final state is then a continuous
function of the initial one, but for grazing contacts and changes in the order of collisions. A
second collision within a step takes place at the start of the next. Cushions reflect a ball whose
centre is nearer than a radius.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.linalg import HIGHEST


@dataclasses.dataclass(frozen=True)
class Table:
    """A table and its balls."""

    size: tuple[float, float]  # length and width
    radius: float  # of a ball
    elasticity: float  # fraction of the normal velocity kept in a collision
    drag: float  # rate at which velocities decay

    def path(
        self, position: jax.Array, velocity: jax.Array, steps: int, step: float
    ) -> tuple[jax.Array, jax.Array]:
        """Return positions and velocities after each step, [steps, balls, 2], of one table."""

        def advance(
            state: tuple[jax.Array, jax.Array], _: None
        ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
            state = self.advance(*state, step)
            return state, state

        return jax.lax.scan(advance, (position, velocity), length=steps)[1]

    def advance(
        self, position: jax.Array, velocity: jax.Array, step: float
    ) -> tuple[jax.Array, jax.Array]:
        """Return positions and velocities [balls, 2] after a step."""
        time, change = self.first_collision(position, velocity, step)
        position = position + step * velocity + (step - time) * change
        position, velocity = self.reflected(position, velocity + change)
        return position, velocity * np.exp(-self.drag * step).astype(velocity.dtype)

    def first_collision(
        self, position: jax.Array, velocity: jax.Array, step: float
    ) -> tuple[jax.Array, jax.Array]:
        """Return the time of the first collision of two balls, and the change of velocities by it.

        The change [balls, 2] is zero if no two balls touch within the step. Two balls at a distance
        d with a relative velocity u touch when |d + t u| = 2 r, with r the radius.
        """
        difference = _differences(len(position))
        d, u = (_product(difference, a) for a in (position, velocity))
        approach, speed = -jnp.sum(d * u, axis=1), jnp.sum(u * u, axis=1)
        gap = jnp.sum(d * d, axis=1) - (2 * self.radius) ** 2
        discriminant = approach**2 - speed * gap
        meets = (approach > 0) & (discriminant > 0)
        root = jnp.sqrt(jnp.where(meets, discriminant, 1.0))
        # The smaller root of speed t^2 - 2 approach t + gap = 0, without cancellation.
        time = gap / jnp.where(meets, approach + root, 1.0)
        time = jnp.where(meets, jnp.maximum(time, 0.0), jnp.inf)
        first = (jnp.arange(len(time)) == jnp.argmin(time)) & (time <= step)
        time = jnp.where(first, time, 0.0)
        contact = d + time[:, None] * u
        normal = contact / jnp.linalg.norm(contact, axis=1, keepdims=True)
        closing = jnp.sum(u * normal, axis=1, keepdims=True)  # negative
        impulse = jnp.where(first[:, None], -(1 + self.elasticity) / 2 * closing * normal, 0.0)
        return jnp.sum(time), _product(difference.T, impulse)

    def reflected(self, position: jax.Array, velocity: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return positions and velocities after the cushions.

        A ball beyond a cushion by a distance delta would be back by elasticity delta.
        """
        low = self.radius
        high = jnp.asarray(self.size, position.dtype) - self.radius
        beyond = jnp.where(velocity < 0, jnp.minimum(position - low, 0.0), 0.0)
        beyond = beyond + jnp.where(velocity > 0, jnp.maximum(position - high, 0.0), 0.0)
        position = position - (1 + self.elasticity) * beyond
        return position, jnp.where(beyond != 0, -self.elasticity * velocity, velocity)


def _differences(balls: int) -> np.ndarray:
    """Return the matrix of differences between the second and the first ball of each pair."""
    rows = [np.eye(balls)[j] - np.eye(balls)[i] for i, j in itertools.combinations(range(balls), 2)]
    return np.array(rows)


def _product(matrix: np.ndarray, vectors: jax.Array) -> jax.Array:
    return jnp.matmul(jnp.asarray(matrix, vectors.dtype), vectors, precision=HIGHEST)
