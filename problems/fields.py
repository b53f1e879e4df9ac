"""Random fields, the five-point Laplacian and norms, shared by the problems on grids."""

import jax
import jax.numpy as jnp
import numpy as np

from physopt.numerics.keys import normal

HIGHEST = jax.lax.Precision.HIGHEST

LARGE_OUTPUT = {rule: {"method": "krylov"} for rule in ("hig", "gauss_newton")}
"""Options of rules, `rule_defaults`, for thousands of outputs a sample, for which no Gram matrix
fits into memory: the same method at small sizes too."""


def random_field(
    key: jax.Array, shape: tuple[int, ...], scale: float = 10.0, smoothness: float = 1.0
) -> jax.Array:
    """Draw a smooth random field with zero mean and unit standard deviation: [*shape].

    The Fourier coefficients are independent complex normal numbers times k^(-2 smoothness), with
    k = scale * (cycles per cell); those of k^2 <= 0.1 vanish. The field is the real part.

    Source: `Noise` of PhiFlow, used by arXiv 2109.15048 and arXiv 2203.10131.
    """
    waves = np.meshgrid(*(scale * np.fft.fftfreq(n) for n in shape), indexing="ij")
    squared = np.sum(np.square(waves), axis=0)
    kept = squared > 0.1
    amplitude = np.where(kept, np.where(kept, squared, 1.0) ** -smoothness, 0.0)
    real, imaginary = normal(key, (2, *shape))
    field = jnp.fft.ifftn(jnp.asarray(amplitude, real.dtype) * jax.lax.complex(real, imaginary))
    field = field.real / jnp.std(field.real)
    return field - jnp.mean(field)


def laplacian(field: jax.Array) -> jax.Array:
    """Return the five-point Laplacian of fields [..., n, n] with spacing 1, zero outside the grid.

    The zero applies to the centres of the first cells beyond the grid, not to the cell faces.
    """
    padded = jnp.pad(field, [(0, 0)] * (field.ndim - 2) + [(1, 1), (1, 1)])
    vertical = padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    horizontal = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    return vertical + horizontal - 4 * field


def inverse_laplacian(source: jax.Array) -> jax.Array:
    """Solve laplacian(field) = source exactly: [..., n, n] -> [..., n, n].

    Sines sin(pi j k / (n + 1)) are the eigenvectors along each axis, with eigenvalues
    -4 sin^2(pi j / (2 (n + 1))). The transform is a product with a dense matrix, which at
    n = 64 is two to three times as fast as a fast Fourier transform of the odd extension.
    """
    n = source.shape[-1]
    index = np.arange(1, n + 1)
    sines = np.sqrt(2 / (n + 1)) * np.sin(np.pi * np.outer(index, index) / (n + 1))
    eigenvalues = -4 * np.sin(np.pi * index / (2 * (n + 1))) ** 2
    both = jnp.asarray(eigenvalues[:, None] + eigenvalues, source.dtype)
    return two_sided(sines, two_sided(sines, source) / both)


def squared_norms(error: jax.Array, true: jax.Array) -> dict[str, jax.Array]:
    """Return the terms of `relative_l2` for fields [batch, ...], each [batch]."""
    axes = tuple(range(1, error.ndim))
    return {"error": jnp.sum(error**2, axes), "true": jnp.sum(true**2, axes)}


def relative_l2(terms: dict[str, np.ndarray]) -> float:
    """Return sqrt(sum_i |error_i|^2 / sum_i |true_i|^2) over the samples i of a set."""
    return float(np.sqrt(np.sum(terms["error"]) / np.sum(terms["true"])))


def two_sided(matrix: np.ndarray, field: jax.Array) -> jax.Array:
    """Apply a symmetric matrix [n, n] along both axes of fields [..., n, n]."""
    factor = jnp.asarray(matrix, field.dtype)
    return jnp.matmul(factor, jnp.matmul(field, factor, precision=HIGHEST), precision=HIGHEST)
