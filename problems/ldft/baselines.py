"""Baselines without training: area errors that a trained network has to beat."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from physopt.machine.pieces import in_pieces
from physopt.numerics.keys import key_of

BANKS = (10, 100, 1000)


def bank_baselines(
    matrix: Callable[[jax.Array], jax.Array],
    isotherm: Callable[[jax.Array], jax.Array],
    target: jax.Array,
    refined_error: Callable[[jax.Array], float] | None = None,
) -> dict[str, dict[str, float]]:
    """Return the mean area error, in per cent, of selecting from a bank of random matrices.

    fixed_matrix: the single matrix of the bank of 1000 with the least mean error. nearest_of_K: for
    each target isotherm [batch, points] the nearest of the first K. `matrix` draws one matrix per
    key. `refined_error` refines matrices [batch, *lattice] towards the targets and returns their
    mean error; it is applied to the nearest of 1000, as area_percent_refined. The keys have a
    separate seed, so that the bank contains no held-out matrix.
    """
    keys = jax.random.split(key_of(2**31), max(BANKS))
    draw = jax.jit(jax.vmap(matrix))
    sites = math.prod(jax.eval_shape(matrix, keys[0]).shape)
    block = min(100, max(1, 2_000_000 // (target.shape[1] * sites)))
    bank = in_pieces(lambda keys: isotherm(jax.vmap(matrix)(keys)), keys, size=block)
    errors = jax.jit(_area_errors)(bank, target)
    means = {"fixed_matrix": float(jnp.min(jnp.mean(errors, axis=0)))}
    for size in BANKS:
        means[f"nearest_of_{size}"] = float(jnp.mean(jnp.min(errors[:, :size], axis=1)))
    methods = {name: {"area_percent": value} for name, value in means.items()}
    if refined_error:
        nearest = draw(keys[jnp.argmin(errors, axis=1)])
        methods[f"nearest_of_{max(BANKS)}"]["area_percent_refined"] = refined_error(nearest)
    return methods


def _area_errors(bank: jax.Array, target: jax.Array) -> jax.Array:
    """Return the area error of every target against every isotherm of the bank, in per cent."""
    return jax.lax.map(lambda y: 100 * jnp.mean(jnp.abs(bank - y), axis=-1), target)
