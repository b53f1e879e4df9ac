"""Baselines without training: area errors that a trained network has to beat."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from physopt.machine.pieces import in_pieces
from physopt.numerics.keys import key_of

BANKS = (10, 100, 1000)
REFINED_TOGETHER = 32
"""Matrices refined at a time, which bounds the memory of their Jacobians."""


def bank_baselines(
    matrix: Callable[[jax.Array], jax.Array],
    isotherm: Callable[[jax.Array], jax.Array],
    target: jax.Array,
    refine: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> dict[str, dict[str, float]]:
    """Return the mean area error, in per cent, of selecting from a bank of random matrices.

    fixed_matrix: the single matrix of the bank of 1000 with the least mean error. nearest_of_K: for
    each target isotherm [batch, points] the nearest of the first K. `matrix` draws one matrix per
    key. `refine` improves matrices towards isotherms; it is applied to the nearest of 1000, whose
    mean error is then area_percent_refined. The keys have a separate seed, so that the bank
    contains no held-out matrix.
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
    if refine:
        nearest = draw(keys[jnp.argmin(errors, axis=1)])

        def improved(start: jax.Array, y: jax.Array) -> jax.Array:
            return jnp.mean(jnp.abs(isotherm(refine(start, y)) - y), axis=-1)

        largest = f"nearest_of_{max(BANKS)}"
        area = in_pieces(improved, nearest, target, size=REFINED_TOGETHER)
        methods[largest]["area_percent_refined"] = 100 * float(jnp.mean(area))
    return methods


def _area_errors(bank: jax.Array, target: jax.Array) -> jax.Array:
    """Return the area error of every target against every isotherm of the bank, in per cent."""
    return jax.lax.map(lambda y: 100 * jnp.mean(jnp.abs(bank - y), axis=-1), target)
