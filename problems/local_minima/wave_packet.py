"""Wave packet: locate an oscillating pulse in a noisy signal."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.numerics.jacobian import pushed_columns
from physopt.numerics.keys import normal
from physopt.options import Bounds, NonNegativeFloat, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.local_minima.encoder import Encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EDGE = 0.875
"""Positions are uniform in +-EDGE of the half length about the middle: [16, 240] of 256 points."""

SPREAD = 0.25
"""Logarithms of the other true unknowns are uniform in +-SPREAD."""


@dataclasses.dataclass(frozen=True)
class WavePacket(Problem):
    """Find the position c of a wave packet in a noisy signal.

    y(s) = A sin(k (s - c)) exp(-(s - c)^2 / (2 w^2)) at s = 1 ... points; the target y* has
    Gaussian noise in addition. Inputs, y and y* are [batch, points]. The unknown x [batch, 1] is
    the scaled position, c = (1 + x_0) points / 2; with unknowns=all, x [batch, 4] and
    A = exp(x_1), w = width exp(x_2), k = wavenumber exp(x_3). Loss 1/2 |y - y*|^2.

    The loss has a local minimum in every period 2 pi / k of the position, and is flat where the
    packets do not overlap: only starts within about half a period of the true position, 6 % of all,
    descend to it. misfit is |y - y*|^2 / |y*|^2, about 0.13 for the true unknowns, and
    position_error is |c - c*| in points.

    Source: the problem is named by arXiv 2408.08119; equation and values are this project's own.
    """

    points: Annotated[int, Bounds(16)] = 256
    """Points of the signal."""

    wavenumber: PositiveFloat = 0.5
    """k in radians per point, of the oscillation."""

    width: PositiveFloat = 20.0
    """w in points, of the envelope."""

    noise: NonNegativeFloat = 0.1
    """Standard deviation of the noise; the packet's amplitude is 1."""

    unknowns: Literal["position", "all"] = "position"
    """position: the position alone. all: amplitude, width and wavenumber too."""

    filters: tuple[PositiveInt, ...] = (16, 16, 16)
    """Channels of the network's convolutions; each halves the signal."""

    target: ClassVar = ("misfit", 0.2)
    tiny: ClassVar = {"points": 32, "width": 4.0, "filters": (4,)}
    defaults: ClassVar = {"batch_size": 64, "steps": 1000, "log_every": 50}

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return 1 if self.unknowns == "position" else 4

    def sample(self, keys: jax.Array) -> Batch:
        """Draw packets, and noise on their signals."""

        def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            of_x, of_noise = jax.random.split(key)
            x = jax.random.uniform(of_x, (self.size,), minval=-1.0) * self._ranges()
            return x, self.noise * normal(of_noise, (self.points,))

        x, noise = jax.vmap(draw)(keys)
        signal = self.signal(x) + noise
        return Batch(inputs=signal, target=signal, extra=x)

    def draw_unknowns(self, keys: jax.Array) -> jax.Array:
        """Draw unknowns from the distribution of the true ones."""

        def draw(key: jax.Array) -> jax.Array:
            return jax.random.uniform(key, (self.size,), minval=-1.0) * self._ranges()

        return jax.vmap(draw)(keys)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a convolutional encoder, signal [batch, points] -> x."""
        return _OfSignal(Encoder(self.points, 1, self.filters, self.size, rngs))

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return signals without noise: [batch, 1 or 4] -> [batch, points]."""
        return self.signal(x)

    def signal(self, x: jax.Array) -> jax.Array:
        """Return y(s) at s = 1 ... points."""
        amplitude, width, wavenumber = 1.0, self.width, self.wavenumber
        if self.unknowns == "all":
            amplitude, width, wavenumber = jnp.split(
                jnp.exp(x[:, 1:]) * jnp.asarray([1.0, width, wavenumber], x.dtype), 3, axis=1
            )
        distance = jnp.asarray(np.arange(1, self.points + 1), x.dtype) - self.position(x)[:, None]
        envelope = jnp.exp(-0.5 * (distance / width) ** 2)
        return amplitude * jnp.sin(wavenumber * distance) * envelope

    def position(self, x: jax.Array) -> jax.Array:
        """Return c in points, [batch]."""
        return (1 + x[:, 0]) * (self.points / 2)

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx by forward differentiation: the unknowns are few."""
        return pushed_columns(self.signal, x)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the relative misfit of the signal and the error of the position."""
        misfit = jnp.sum((y - batch.target) ** 2, axis=1) / jnp.sum(batch.target**2, axis=1)
        error = jnp.abs(self.position(x) - self.position(batch.extra))
        return {"misfit": misfit, "position_error": error}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw signals and the loss against the position."""
        from physopt.problems.local_minima.picture import draw_packets

        scan = jnp.linspace(-1, 1, 513)

        def loss(position: jax.Array) -> jax.Array:
            moved = jnp.asarray(x).at[:, 0].set(position)
            return self.loss(self.signal(moved), batch)

        positions = (self.position(x), self.position(batch.extra))
        losses = jax.lax.map(loss, scan.astype(x.dtype)).T
        return draw_packets(batch.target, y, (1 + scan) * self.points / 2, losses, positions)

    def _ranges(self) -> np.ndarray:
        """Return the half widths of the distributions of x, [1 or 4]."""
        return np.array([EDGE, SPREAD, SPREAD, SPREAD][: self.size])


class _OfSignal(nnx.Module):
    """An encoder of signals [batch, points], which have no channel axis."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder

    def __call__(self, inputs: jax.Array) -> Any:
        """Evaluate the network."""
        return self.encoder(inputs[..., None])
