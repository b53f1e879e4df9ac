"""Sine and line: a problem with adjustable scaling and rotation of its components."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks import Dense
from physopt.networks.unet import initialize
from physopt.options import PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem

LARGEST_LOSS_CHANGE = 0.2


@dataclasses.dataclass(frozen=True)
class Sine(Problem):
    """Invert y = (sin(frequency/xi z_1), frequency xi z_2), z = x rotated by the angle phi.

    x, y and y* [batch, 2], y* uniform in [-1, 1]^2. Loss 1/2 |y - y*|^2. The second component is
    xi^2 times as steep as the first, and phi mixes the two. Solutions repeat along z_1;
    x_distance is the distance to the nearest. At large xi a smaller loss may come with a larger
    x_distance. The formula is that of the source's program; the published one has 1/xi outside the
    sine.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048, section 4.1.
    """

    xi: PositiveFloat = 32.0
    """Ratio of scales; 1 is well conditioned."""

    phi: float = 45.0
    """Rotation in degrees; at 0 the components of x are independent."""

    frequency: PositiveFloat = 10.0
    """Scale of both components."""

    hidden: tuple[PositiveInt, ...] = (32, 64, 32)
    """Widths of the network's hidden layers."""

    target: ClassVar = ("x_distance", 0.1)
    defaults: ClassVar = {"batch_size": 100, "steps": 5000, "log_every": 250}
    # At losses up to 10^7 plain descent diverges within a few steps.
    rule_defaults: ClassVar = {"sgd": {"clip_norm": 1.0}}

    @property
    def slopes(self) -> np.ndarray:
        """Steepest slopes of the two components, (frequency / xi, frequency xi)."""
        return np.array([self.frequency / self.xi, self.frequency * self.xi])

    @property
    def rotation(self) -> np.ndarray:
        """The matrix R of z = R x."""
        cosine, sine = np.cos(np.deg2rad(self.phi)), np.sin(np.deg2rad(self.phi))
        return np.array([[cosine, -sine], [sine, cosine]])

    def sample(self, keys: jax.Array) -> Batch:
        """Draw y* [batch, 2]."""
        y = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-1.0))(keys)
        return Batch(inputs=y, target=y)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a dense ReLU network [batch, 2] -> [batch, 2]."""
        sizes = (2, *self.hidden, 2)
        return initialize(Dense(sizes, rngs, activation="relu"), rngs, "torch")

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return y(x): [batch, 2] -> [batch, 2]."""
        phase = self._phase(x)
        return jnp.stack([jnp.sin(phase[:, 0]), phase[:, 1]], axis=-1)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x after a saddle-free Newton step: [batch, 2].

        The Hessian of the loss is diagonal in z: its eigenvectors are the rows of R. A component
        with gradient g and eigenvalue s moves by -sign(g) |g/s| where s > sqrt(|s_1 s_2|), and by
        -sign(g) min(|g/s|, 0.2/|g|) elsewhere, a change of the loss by at most 0.2 to first order.
        """
        phase, slopes = self._phase(x), jnp.asarray(self.slopes, x.dtype)
        sine, cosine = jnp.sin(phase[:, 0]), jnp.cos(phase[:, 0])
        excess = sine - batch.target[:, 0]
        gradient = slopes * jnp.stack([excess * cosine, phase[:, 1] - batch.target[:, 1]], axis=-1)
        curvature = jnp.stack([cosine**2 - excess * sine, jnp.ones_like(sine)], axis=-1) * slopes**2
        steep = jnp.abs(gradient)
        newton = _ratio(steep, jnp.abs(curvature))
        limited = jnp.minimum(newton, _ratio(LARGEST_LOSS_CHANGE, steep))
        mean = jnp.sqrt(jnp.abs(jnp.prod(curvature, axis=-1, keepdims=True)))
        step = -jnp.sign(gradient) * jnp.where(curvature > mean, newton, limited)
        return x + _product(step, self.rotation)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the distance to the nearest solution."""
        phase = self._phase(x)
        angle = jnp.arcsin(batch.target[:, 0])
        # Each branch of the arcsine repeats with period 2 pi; the remainder is signed.
        branches = jnp.stack([phase[:, 0] - angle, phase[:, 0] - np.pi + angle])
        turns = jnp.round(branches / (2 * np.pi))
        nearest = jnp.min(jnp.abs(branches - 2 * np.pi * turns), axis=0)
        offset = jnp.stack([nearest, phase[:, 1] - batch.target[:, 1]], axis=-1)
        return {"x_distance": jnp.linalg.norm(offset / jnp.asarray(self.slopes, x.dtype), axis=-1)}

    def _phase(self, x: jax.Array) -> jax.Array:
        """Return (frequency/xi z_1, frequency xi z_2)."""
        return jnp.asarray(self.slopes, x.dtype) * _product(x, self.rotation.T)


def _product(vectors: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiply row vectors [batch, 2] by a matrix in full precision."""
    factor = jnp.asarray(matrix, vectors.dtype)
    return jnp.matmul(vectors, factor, precision=jax.lax.Precision.HIGHEST)


def _ratio(a: jax.Array | float, b: jax.Array) -> jax.Array:
    """Return a/b, or infinity where b vanishes."""
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), jnp.inf)
