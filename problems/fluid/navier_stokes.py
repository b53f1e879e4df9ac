"""The problem `navier_stokes`: find an initial velocity from a marker before and after."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from physopt.networks.unet import UNetOptions
from physopt.options import Bounds, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fluid.flow import Flow, rollout
from physopt.problems.fluid.grid import velocity_on_faces
from physopt.problems.fluid.inverse_swirl import TRANSLATIONS, gauss_newton_step, reverse_step
from physopt.problems.fluid.projection import project
from physopt.problems.fluid.swirl import DURATION, SIDE, Motion, random_scene

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUR = 160.0
"""Waves of k cycles per unit length have the weight exp(-(k BLUR)^2 / 2)."""

LEAST = 1e-5**0.5
"""Amplitude below which a wave is ignored."""

WAVES = np.array(
    [(i, j) for i in range(5) for j in range(-4, 5) if i * i + j * j <= 16 and (i > 0 or j > 0)]
)
"""Waves of up to 4 cycles per side, one of each pair of opposite ones. All others have a weight of
at most 2e-6, and stay below LEAST for a marker on 15 % of the square."""


@dataclasses.dataclass(frozen=True)
class NavierStokes(UNetOptions, Problem):
    """Find an initial velocity that moves a marker m_0 to m_T: incompressible, inviscid, periodic.

    The square has a side of 128, and T = 2. The unknown x [batch, n, n, 2] is the velocity v_0 in
    cell centres; it is averaged to a staggered grid, projected to zero divergence, and advanced by
    `flow.advance`. y [batch, 24, 2] are real and imaginary parts of the lowest Fourier coefficients
    of m_T, a_k = exp(-(160 |k|)^2 / 2) sum m_T exp(-2 pi i k s) per 2 x 2 of area. The loss is
    the source's L = sum_k max(|a_k - a_k*|, 10^-2.5) over all waves, less its least value; or
    1/2 |y - y*|^2. velocity_l1 = sum |v_0 - v_0*| over the cells; velocity_error = sum |v_0 - v_0*|
    / sum |v_0*|. Inputs are m_0 and m_T, [batch, n, n, 2].

    True velocities are a translation, a swirl about the middle and weak random fields, see
    `swirl.random_scene`; m_T is simulated from them as it is from v_0, so that the loss of v_0* is
    0. The inverse step returns a translation plus a swirl (see `inverse_swirl`). With
    translation=known, as in the source, it takes the translation from the generator's own formula
    and finds only one number, omega.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048, section 3.5. There the pressure is
    found by conjugate gradients, here exactly by Fourier transform; the true velocity is not
    projected before its first step; and one size of the marker holds for a whole batch.
    """

    size: Annotated[int, Bounds(10)] = 32
    """Cells along each side; 64 in the source."""

    time_steps: PositiveInt = 8
    """Time steps from m_0 to m_T."""

    objective: Literal["amplitudes", "squared"] = "amplitudes"
    """Loss: the sum of the amplitudes of y - y*, or half of its sum of squares."""

    inverse: Literal["reverse", "gauss_newton"] = "reverse"
    """Inverse step: reverse simulation, or Gauss-Newton in translation and omega by three forward
    derivatives, which needs no knowledge of the generator."""

    translation: Literal["known", "estimated"] = "known"
    """Translation of the reverse simulation: the generator's own, or from centres of mass."""

    target: ClassVar = ("velocity_error", 0.2)
    tiny: ClassVar = {"size": 10, "time_steps": 2, "levels": 2, "filters": 4}
    drawn: ClassVar = 3
    # The learning rate of the source.
    rule_defaults: ClassVar = {rule: {"learning_rate": 5e-3} for rule in ("adam", "sip")}
    defaults: ClassVar = {"batch_size": 16, "steps": 200, "log_every": 10, "heldout_size": 64}

    def sample(self, keys: jax.Array) -> Batch:
        """Draw scenes; extra holds both markers and the true velocity."""
        first, velocity = jax.vmap(lambda key: random_scene(key, self.size))(keys)
        last = jax.vmap(self.flow)(velocity, first).marker[:, -1]
        extra = {"first": first, "last": last, "velocity": velocity}
        target = jax.vmap(spectrum)(last)
        return Batch(inputs=jnp.stack([first, last], axis=-1), target=target, extra=extra)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a U-net, both markers [batch, n, n, 2] -> velocity [batch, n, n, 2]."""
        return self.unet(2, 2, rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return fluids at rest."""
        return jnp.zeros_like(batch.extra["velocity"])

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the weighted Fourier coefficients of m_T: [batch, n, n, 2] -> [batch, 24, 2]."""
        return jax.vmap(self._observed)(x, batch.extra["first"])

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return the loss of each sample, [batch]."""
        return LOSSES[self.objective](y - batch.target)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return a translation plus a swirl nearer to the target, [batch, n, n, 2]."""
        steps = {"reverse": self._reverse_step, "gauss_newton": self._gauss_newton_step}
        motion = jax.vmap(steps[self.inverse])(x, batch)
        return jax.vmap(lambda motion: motion.velocity(self.size))(motion)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return absolute and relative distance to the true velocity."""
        error, size = (
            jnp.sum(jnp.linalg.norm(v, axis=-1), axis=(1, 2))
            for v in (x - batch.extra["velocity"], batch.extra["velocity"])
        )
        return {"velocity_l1": error, "velocity_error": error / size}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw film strips of marker and velocity, of the target and as reached."""
        from physopt.problems.fluid.picture import draw_film_strips

        first, true = batch.extra["first"], batch.extra["velocity"]
        flow = jax.jit(jax.vmap(self.flow))
        errors = self.metrics(x, y, batch)["velocity_error"]
        titles = [f"velocity error {100 * error:.0f} %" for error in errors]
        return draw_film_strips(flow(true, first), flow(x, first), DURATION, titles)

    def film(self, x: jax.Array, batch: Batch) -> Mapping[str, jax.Array]:
        """Return the markers' films, {name: [batch, times, n, n]}."""
        first, true = batch.extra["first"], batch.extra["velocity"]
        moved = jax.jit(jax.vmap(lambda v, first: self.flow(v, first).marker))
        return {"target": moved(true, first), "reached": moved(x, first)}

    def flow(self, velocity: jax.Array, marker: jax.Array) -> Flow:
        """Return the rollout [time_steps + 1, ...] from a centred velocity and a marker."""
        scale = DURATION * self.size / (self.time_steps * SIDE)
        start, _ = project(velocity_on_faces(scale * velocity))
        return rollout(Flow(start, marker), self.time_steps)

    def reverse(self, velocity: jax.Array, marker: jax.Array) -> Flow:
        """Return the rollout backwards from a final velocity on faces, in cells per step."""
        return rollout(Flow(-velocity, marker), self.time_steps)

    def _observed(self, velocity: jax.Array, marker: jax.Array) -> jax.Array:
        return spectrum(self.flow(velocity, marker).marker[-1])

    def _reverse_step(self, x: jax.Array, sample: Batch) -> Motion:
        markers = sample.extra["first"], sample.extra["last"]
        translation = TRANSLATIONS[self.translation]
        return reverse_step(x, markers, self.flow, self.reverse, translation)

    def _gauss_newton_step(self, x: jax.Array, sample: Batch) -> Motion:
        markers = sample.extra["first"], sample.extra["last"]
        return gauss_newton_step(x, markers, self.flow, lambda marker: spectrum(marker).ravel())


def spectrum(marker: jax.Array) -> jax.Array:
    """Return real and imaginary parts of the weighted coefficients of WAVES: [n, n] -> [24, 2]."""
    n = marker.shape[0]
    area = (SIDE / (2 * n)) ** 2
    weights = area * np.exp(-np.sum((WAVES * BLUR / SIDE) ** 2, axis=1) / 2)
    kept = jnp.fft.fft2(marker)[WAVES[:, 0], WAVES[:, 1]]
    both = jnp.stack([kept.real, kept.imag], axis=-1)
    return both * jnp.asarray(weights, marker.dtype)[:, None]


def summed_amplitudes(difference: jax.Array) -> jax.Array:
    """Return sum_k max(|a_k|, LEAST) over both of each pair of waves, less that of 0: [batch]."""
    squared = jnp.maximum(jnp.sum(difference**2, axis=-1), LEAST**2)
    return 2 * jnp.sum(squared**0.5 - LEAST, axis=-1)


def half_square(difference: jax.Array) -> jax.Array:
    """Return half of the sum of squares, [batch]."""
    return 0.5 * jnp.sum(difference**2, axis=(1, 2))


LOSSES = {"amplitudes": summed_amplitudes, "squared": half_square}
