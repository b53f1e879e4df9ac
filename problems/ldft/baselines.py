"""Baselines without training: area errors that a trained network has to beat."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from physopt.numerics.keys import key_of

BANKS = (10, 100, 1000)
REFINED_TOGETHER = 64
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
    draw, solve = jax.jit(jax.vmap(matrix)), jax.jit(isotherm)
    sites = math.prod(jax.eval_shape(matrix, keys[0]).shape)
    most = min(100, max(1, 2_000_000 // (target.shape[1] * sites)))
    block = max(k for k in range(1, most + 1) if max(BANKS) % k == 0)
    bank = jnp.concatenate([solve(draw(keys[k : k + block])) for k in range(0, max(BANKS), block)])
    errors = jax.jit(_area_errors)(bank, target)
    means = {"fixed_matrix": float(jnp.min(jnp.mean(errors, axis=0)))}
    for size in BANKS:
        means[f"nearest_of_{size}"] = float(jnp.mean(jnp.min(errors[:, :size], axis=1)))
    methods = {name: {"area_percent": value} for name, value in means.items()}
    if refine:
        nearest = draw(keys[jnp.argmin(errors, axis=1)])
        improved = jax.jit(lambda start, y: jnp.abs(isotherm(refine(start, y)) - y))
        block = min(REFINED_TOGETHER, len(target))
        parts = [
            improved(nearest[k : k + block], target[k : k + block])
            for k in range(0, len(target), block)
        ]
        largest = f"nearest_of_{max(BANKS)}"
        methods[largest]["area_percent_refined"] = 100 * float(jnp.mean(jnp.concatenate(parts)))
    return methods


def _area_errors(bank: jax.Array, target: jax.Array) -> jax.Array:
    """Return the area error of every target against every isotherm of the bank, in per cent."""
    return jax.lax.map(lambda y: 100 * jnp.mean(jnp.abs(bank - y), axis=-1), target)
