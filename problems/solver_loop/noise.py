"""Smooth random fields of the solver-in-the-loop experiments."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.keys import normal


def decaying_noise(key: jax.Array, shape: tuple[int, ...], power: float) -> jax.Array:
    """Draw a random periodic field, [*shape].

    The Fourier coefficients are independent complex normal numbers times
    power sqrt(n) (1 + |k|)^-power, with k in cycles per cell and n cells per axis; the field is the
    real part. Its standard deviation depends on n: 0.12 for power = 8 at n = 128.

    Source: `randfreq` of PhiFlow, used by arXiv 2007.00016.
    """
    waves = np.meshgrid(*map(np.fft.fftfreq, shape), indexing="ij")
    size = np.sqrt(np.sum(np.square(waves), axis=0))
    amplitude = power * np.sqrt(np.mean(shape)) * (1 + size) ** -power
    real, imaginary = normal(key, (2, *shape))
    coefficients = jnp.asarray(amplitude, real.dtype) * jax.lax.complex(real, imaginary)
    return jnp.fft.ifftn(coefficients).real
