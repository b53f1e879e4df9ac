"""Projection of a velocity on a periodic grid to zero divergence, exact by Fourier transform."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.problems.fluid.grid import divergence, gradient


def project(velocity: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return v - grad p [*grid, d] and p [*grid], with laplace p = div v and zero mean of p.

    Plane waves are the eigenvectors of the grid's own Laplacian div grad, with the eigenvalues
    -4 sum_a sin^2(pi k_a) at k cycles per cell, so that only rounding remains of the divergence.
    The mean velocity is kept.
    """
    source = divergence(velocity)
    pressure = solve_poisson(source)
    return velocity - gradient(pressure), pressure


def solve_poisson(source: jax.Array) -> jax.Array:
    """Return p of zero mean with laplace p = source - mean(source), periodic: [*grid]."""
    *others, last = source.shape
    waves = np.meshgrid(*map(np.fft.fftfreq, others), np.fft.rfftfreq(last), indexing="ij")
    eigenvalues = -4 * np.sum(np.sin(np.pi * np.stack(waves)) ** 2, axis=0)
    inverse = np.divide(1, eigenvalues, out=np.zeros_like(eigenvalues), where=eigenvalues != 0)
    solution = jnp.fft.rfftn(source) * jnp.asarray(inverse, source.dtype)
    return jnp.fft.irfftn(solution, s=source.shape)
