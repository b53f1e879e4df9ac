"""The heat equation on a periodic grid: find the initial temperature from a later, smooth one."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from physopt.networks.fno import FourierOperator
from physopt.networks.unet import UNetOptions
from physopt.options import Bounds, PositiveFloat
from physopt.problem import Batch, Problem
from physopt.problems.fields import LARGE_OUTPUT, relative_l2, squared_norms, two_sided

MOST_BOXES = 10
RELATIVE_NOISE = 1e-6


@dataclasses.dataclass(frozen=True)
class Heat(UNetOptions, Problem):
    """Find the initial temperature: y = exp(time * laplacian) x on a periodic grid.

    x, y and y* [batch, n, n] are temperatures before and after, with unit spacing. In Fourier space
    y = exp(-(2 pi |k|)^2 time) x, k in cycles per cell: fine structure is damped, by factors
    down to e^-158. True x are sums of 4 to 10 boxes. Loss 1/2 sum (y - y*)^2; x_l1 = sum
    |x - true x| over the cells; x_error = |x - true x| / |true x| of a sample, and
    x_relative_l2 = sqrt(sum |x - true x|^2 / sum |true x|^2) over a whole set.

    The inverse step amplifies a Fourier mode of y* - y that can be the signal of a temperature of
    order 1, and damps one that can only be noise; see `invert`.

    Source: P. Holl, V. Koltun, N. Thuerey, arXiv 2109.15048, section 4.3.
    """

    size: Annotated[int, Bounds(8)] = 64
    """Cells along each side."""

    time: PositiveFloat = 8.0
    """Time between x and y, times the diffusivity, in cells squared: y is smooth over
    sqrt(2 time) cells."""

    target: ClassVar = ("x_error", 0.35)
    tiny: ClassVar = {"size": 16, "levels": 2, "filters": 4}
    float64_inverse: ClassVar = True
    defaults: ClassVar = {"batch_size": 16, "steps": 500, "log_every": 25}
    rule_defaults: ClassVar = LARGE_OUTPUT

    def sample(self, keys: jax.Array) -> Batch:
        """Draw later temperatures [batch, n, n]; extra holds the initial ones."""
        initial = jax.vmap(lambda key: random_boxes(key, self.size))(keys)
        later = self._diffuse(initial)
        return Batch(inputs=later, target=later, extra=initial)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a U-net [batch, n, n] -> [batch, n, n] whose output has its input's mean."""
        return Standardized(self.unet(1, 1, rngs))

    def network_paper(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the source's network, whose U-net receives unscaled temperatures."""
        return Standardized(self.unet(1, 1, rngs), scaled=False)

    def network_fno(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the source's Fourier neural operator, whose output has its input's mean."""
        return Standardized(FourierOperator(rngs), scaled=False)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the temperatures after diffusion: [batch, n, n] -> [batch, n, n]."""
        return self._diffuse(x)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return x plus the initial temperature inferred from y* - y: [batch, n, n].

        A is the Fourier transform of D = y* - y, and E = n exp(-(2 pi |k|)^2 time) the expected
        amplitude of a signal. The noise sigma is 1e-6 |D|, but at least the rounding error of y*,
        2 eps |y*|, which the source omits: without it a second step would amplify that error
        without bound.
        p = S / (S + N) from S = exp(-|A|^2 / 2 E^2) and N = exp(-|A|^2 / 2 sigma^2) is the
        probability of signal, and A is multiplied by exp(action (2 pi |k|)^2 time), action =
        2 p - 1, or 0 for 0.5 < p < 0.68.

        It is computed in float64: the exponents reach 158, and sigma is at the rounding of float32.
        """
        with jax.enable_x64(True):
            wide, wanted = (lax.convert_element_type(a, np.float64) for a in (x, batch.target))
            difference = wanted - self._diffuse(wide)
            rounding = 2 * jnp.finfo(batch.target.dtype).eps
            noise = jnp.maximum(RELATIVE_NOISE * _norm(difference), rounding * _norm(wanted))
            step = self._signal(difference, noise[:, None, None])
            return lax.convert_element_type(wide + step, x.dtype)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return absolute and relative distance to the true initial temperature."""
        difference = x - batch.extra
        relative = _norm(difference) / _norm(batch.extra)
        return {"x_l1": jnp.sum(jnp.abs(difference), axis=(1, 2)), "x_error": relative}

    def set_terms(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the squared norms of x - true x and of true x."""
        return squared_norms(x - batch.extra, batch.extra)

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the relative L2 error of x over a set."""
        return {"x_relative_l2": relative_l2(terms)}

    def _exponents(self) -> np.ndarray:
        """Return (2 pi k)^2 time along one axis: [n]."""
        return self.time * (2 * np.pi * np.fft.fftfreq(self.size)) ** 2

    def _diffuse(self, field: jax.Array) -> jax.Array:
        """Apply the propagator, a circulant matrix along each axis.

        At n = 64 two matrix products are faster than two fast Fourier transforms.
        """
        response = np.fft.ifft(np.exp(-self._exponents())).real
        index = np.arange(self.size)
        return two_sided(response[(index[:, None] - index) % self.size], field)

    def _signal(self, difference: jax.Array, noise: jax.Array) -> jax.Array:
        """Return the initial temperature inferred from a difference of later ones."""
        exponent = jnp.asarray(self._exponents()[:, None] + self._exponents())
        amplitude = jnp.fft.fft2(difference)
        power = amplitude.real**2 + amplitude.imag**2
        expected = self.size * jnp.exp(-exponent)
        signal = _likelihood(power, expected)
        total = signal + _likelihood(power, noise)
        probability = jnp.where(total > 0, signal / jnp.where(total > 0, total, 1), 0)
        undecided = (probability > 0.5) & (probability < 0.68)
        action = jnp.where(undecided, 0, 2 * probability - 1)
        return jnp.fft.ifft2(amplitude * jnp.exp(action * exponent)).real


def _norm(field: jax.Array) -> jax.Array:
    return jnp.linalg.norm(field, axis=(1, 2))


def _likelihood(power: jax.Array, deviation: jax.Array) -> jax.Array:
    """Return exp(-power / 2 deviation^2); 1 where both vanish, that is, where y equals y*."""
    variance = jnp.broadcast_to(2 * deviation**2, power.shape)
    exponent = power / jnp.where(variance > 0, variance, 1)
    return jnp.where(variance > 0, jnp.exp(-exponent), jnp.where(power > 0, 0.0, 1.0))


def random_boxes(key: jax.Array, size: int) -> jax.Array:
    """Draw a sum of boxes of constant temperature, 4 to 10 of them: [n, n].

    Centres are uniform in the middle 80 % of the domain, half sides uniform up to 10 cells of 64,
    temperatures uniform in [0, 1]; a box that would cross the border is moved inwards. An edge is
    about a cell wide: the value is clip(0.5 - sqrt(2) d, 0, 1) with d the maximum over the axes of
    |distance| - half side.
    """
    number, centres, sides, strengths = jax.random.split(key, 4)
    count = jax.random.randint(number, (), 4, MOST_BOXES + 1)
    half = 10 / 64 * size * jax.random.uniform(sides, (MOST_BOXES, 2))
    centre = size * jax.random.uniform(centres, (MOST_BOXES, 2), minval=0.1, maxval=0.9)
    centre = jnp.clip(centre, half, size - half)
    strength = jax.random.uniform(strengths, (MOST_BOXES,)) * (jnp.arange(MOST_BOXES) < count)
    cells = jnp.arange(size) + 0.5
    outside = jnp.abs(cells - centre[..., None]) - half[..., None]  # [boxes, 2, n]
    distance = jnp.maximum(outside[:, 0, :, None], outside[:, 1, None, :])
    return jnp.einsum("k,kij->ij", strength, jnp.clip(0.5 - np.sqrt(2) * distance, 0, 1))


class Standardized(nnx.Module):
    """Network between fields [batch, n, n], normalised by its input's mean and standard deviation.

    Diffusion is linear and conserves the mean, so the mean of x is known and x scales with y. A
    group-normalised network cannot learn that scaling, since it loses the amplitude of its input.
    scaled=False restores only the mean.
    """

    def __init__(self, network: nnx.Module, *, scaled: bool = True):
        self.network, self.scaled = network, scaled

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Evaluate the network."""
        mean = jnp.mean(inputs, (1, 2), keepdims=True)
        if not self.scaled:
            x = self.network(inputs)  # type: ignore[operator]
            return mean + x - jnp.mean(x, (1, 2), keepdims=True)
        deviation = jnp.std(inputs, (1, 2), keepdims=True)
        unit = jnp.where(deviation > 0, deviation, 1)
        x = self.network((inputs - mean) / unit)  # type: ignore[operator]
        return mean + unit * (x - jnp.mean(x, (1, 2), keepdims=True))
