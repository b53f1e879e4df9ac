"""Kuramoto-Sivashinsky equation: parameters or initial state from a later, chaotic state."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.numerics.jacobian import pushed_columns
from physopt.options import Bounds, PositiveFloat, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.etdrk4 import Factors, advance, factors
from physopt.problems.local_minima.encoder import Encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class KuramotoSivashinsky(Problem):
    """Find what led to a state of the Kuramoto-Sivashinsky equation.

    u_t = alpha G(s) - u_ss - u_ssss - beta u u_s on a periodic line, where G is a fixed smooth
    field of unit deviation and zero mean: the mean of u is conserved. y and y* [batch, points] are
    u at the time `horizon`. The initial state is a sum of the `modes` lowest Fourier modes with
    normal coefficients, of unit deviation. Unknowns:

        parameters  x [batch, 2]: alpha = x_0, beta = 1 + x_1 / 2, true ones uniform in [-1, 1];
                    inputs [batch, points, 2] are the initial and the later state
        state       x [batch, 2 modes]: the coefficients, with alpha = 0 and beta = 1; inputs
                    [batch, points, 1] are the later state

    Loss 1/2 mean |y - y*|^2 over the points; y_error is |y - y*| / |y*|, x_error is |x - x*|.
    Fourier modes in space, two thirds of them kept, and ETDRK4 in time; the same solver makes the
    targets. The flow is chaotic on long lines: the longer the horizon, the more y responds to x,
    and the more local minima the loss has.

    Source: the equation is named by arXiv 2408.08119 and 2501.16573; forcing, ranges and sizes are
    this project's own.
    """

    unknown: Literal["parameters", "state"] = "parameters"
    """parameters: alpha and beta. state: the initial state."""

    points: Annotated[int, Bounds(16)] = 64
    """Points of the line."""

    length: PositiveFloat = 32.0
    """Length of the line; states are uniform up to 2 pi, and chaotic from about 20 on."""

    horizon: PositiveFloat = 20.0
    """Time between the initial and the later state; it sets the condition number."""

    time_step: PositiveFloat = 0.25
    """Longest step of the integrator."""

    modes: PositiveInt = 4
    """Fourier modes of the initial state."""

    filters: tuple[PositiveInt, ...] = (16, 32, 32)
    """Channels of the network's convolutions; each halves the line."""

    target: ClassVar = ("y_error", 0.05)
    tiny: ClassVar = {"points": 16, "length": 16.0, "horizon": 1.0, "modes": 2, "filters": (4,)}
    defaults: ClassVar = {"batch_size": 32, "steps": 500, "log_every": 25}

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return 2 if self.unknown == "parameters" else 2 * self.modes

    @property
    def steps(self) -> int:
        """Steps of the integrator."""
        return int(np.ceil(self.horizon / self.time_step - 1e-9))

    def sample(self, keys: jax.Array) -> Batch:
        """Draw initial states and unknowns, and integrate."""

        def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            of_state, of_x = jax.random.split(key)
            return jax.random.normal(of_state, (2 * self.modes,)), self._unknown(of_x)

        modes, x = jax.vmap(draw)(keys)
        extra = {"start": self.state(x if self.unknown == "state" else modes), "x": x}
        later = self._later(x, extra["start"])
        signals = [later] if self.unknown == "state" else [extra["start"], later]
        return Batch(inputs=jnp.stack(signals, axis=2), target=later, extra=extra)

    def draw_unknowns(self, keys: jax.Array) -> jax.Array:
        """Draw unknowns from the distribution of the true ones."""
        return jax.vmap(self._unknown)(keys)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a periodic convolutional encoder, states [batch, points, 1 or 2] -> x."""
        channels = 1 if self.unknown == "state" else 2
        encoder = Encoder(self.points, channels, self.filters, self.size, rngs, periodic=True)
        return encoder if self.unknown == "parameters" else _Wider(encoder)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return u at the horizon, [batch, points]."""
        return self._later(x, self._start(x, batch))

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return 1/2 mean |y - y*|^2 over the points, [batch]."""
        return 0.5 * jnp.mean((y - batch.target) ** 2, axis=1)

    def linearize(self, x: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Return y and dy/dx by forward differentiation: the unknowns are few."""
        return pushed_columns(lambda x: self.simulate(x, batch), x)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the relative error of the later state, and the error of the unknowns."""
        error = jnp.linalg.norm(y - batch.target, axis=1) / jnp.linalg.norm(batch.target, axis=1)
        return {"y_error": error, "x_error": jnp.linalg.norm(x - batch.extra["x"], axis=1)}

    def state(self, coefficients: jax.Array) -> jax.Array:
        """Return initial states: [batch, 2 modes] -> [batch, points]."""
        phase = 2 * np.pi / self.points * np.outer(np.arange(1, self.modes + 1), range(self.points))
        basis = np.concatenate([np.cos(phase), np.sin(phase)]) / np.sqrt(self.modes)
        basis = jnp.asarray(basis, coefficients.dtype)
        return jnp.matmul(coefficients, basis, precision=jax.lax.Precision.HIGHEST)

    def forcing(self) -> np.ndarray:
        """Return G, [points]: four modes of one amplitude."""
        place, mode = 2 * np.pi * np.arange(self.points) / self.points, np.arange(1, 5)[:, None]
        return np.sum(np.cos(mode * place + mode**2), axis=0) / np.sqrt(2)

    def path(self, x: jax.Array, start: jax.Array) -> jax.Array:
        """Return u after each step, [steps, batch, points]."""

        def step(u: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            u = self._advance(x, u)
            return u, jnp.fft.irfft(u, self.points, axis=1)

        return jax.lax.scan(step, jnp.fft.rfft(start, axis=1), length=self.steps)[1]

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw true and found flows, and their last states."""
        from physopt.problems.local_minima.picture import draw_flows

        flows = [
            jnp.concatenate([start[None], self.path(unknown, start)])
            for unknown in (batch.extra["x"], x)
            for start in [self._start(unknown, batch)]
        ]
        return draw_flows(flows[0], flows[1], self.length, self.horizon)

    def _unknown(self, key: jax.Array) -> jax.Array:
        """Draw the unknowns of a sample."""
        if self.unknown == "state":
            return jax.random.normal(key, (self.size,))
        return jax.random.uniform(key, (self.size,), minval=-1.0)

    def _start(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the initial state that belongs to unknowns."""
        return self.state(x) if self.unknown == "state" else batch.extra["start"]

    def _later(self, x: jax.Array, start: jax.Array) -> jax.Array:
        """Return u at the horizon: initial states [batch, points] -> [batch, points]."""

        def step(u: jax.Array, _: None) -> tuple[jax.Array, None]:
            return self._advance(x, u), None

        u, _ = jax.lax.scan(step, jnp.fft.rfft(start, axis=1), length=self.steps)
        return jnp.fft.irfft(u, self.points, axis=1)

    def _advance(self, x: jax.Array, u: jax.Array) -> jax.Array:
        """Return the Fourier coefficients of u after a step, [batch, points / 2 + 1]."""
        waves = self._waves()
        kept = waves < 2 / 3 * waves[-1]
        derivative = jnp.asarray(-0.5j * waves * kept, u.dtype)
        forcing = jnp.asarray(np.fft.rfft(self.forcing()), u.dtype)
        alpha, beta = (x[:, :1], 1 + x[:, 1:] / 2) if self.unknown == "parameters" else (0.0, 1.0)

        def nonlinear(u: jax.Array) -> jax.Array:
            square = jnp.fft.rfft(jnp.fft.irfft(u, self.points, axis=1) ** 2, axis=1)
            return alpha * forcing + beta * derivative * square

        return advance(self._factors(waves), u, nonlinear)

    def _waves(self) -> np.ndarray:
        """Return the wave numbers, [points / 2 + 1]."""
        return 2 * np.pi / self.length * np.arange(self.points // 2 + 1)

    def _factors(self, waves: np.ndarray) -> Factors:
        return factors(waves**2 - waves**4, self.horizon / self.steps)


class _Wider(nnx.Module):
    """An encoder whose numbers lie between -3 and 3, the range of normal coefficients."""

    def __init__(self, encoder: Encoder):
        self.encoder = encoder

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        return 3 * self.encoder(inputs)
