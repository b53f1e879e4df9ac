"""Agreement of the goals of scale-invariant physics between targets, and with the gradient.

    python runs/ldft/directions.py [key=value ...]

A network sums the directions x~ - x of many targets. For each kind of direction, at the parameters
that a short run of Adam reached, prints mean cosines between the directions

* of targets y* and y* + a smooth curve of 0.3 % mean size, at the same x,
* of neighbours: each target and the nearest one of a pool, each at its own x,
* pulled back through the network, of disjoint batches of 32 targets,
* pulled back through the network, and the negative gradient at the rounded matrix.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from equal_time import PROBLEM, Method, train, write_table
from sip_flips import SURROGATE

from physopt.analysis.words import markdown_table
from physopt.numerics.linalg import damped_solve
from physopt.optimizers.first_order import Adam
from physopt.options import Options, PositiveFloat, PositiveInt
from physopt.problems.ldft.flips import refine_matrices
from physopt.script import script

PERTURBATION = 3e-3
BATCH = 32


@dataclass(frozen=True)
class DirectionOptions(Options):
    """Targets and training."""

    seconds: tuple[PositiveFloat, ...] = (4.0, 15.0)
    """CPU seconds of Adam after which directions are compared."""

    count: PositiveInt = 96
    """Targets, a multiple of 32."""

    pool: PositiveInt = 4096
    """Targets among which neighbours are searched."""

    out: Path | None = None
    """Markdown file with markers whose table is replaced; only printed by default."""


class Physics:
    """Compiled physics of rounded and relaxed matrices, as flat NumPy arrays."""

    def __init__(self) -> None:
        self.shape = (-1, *PROBLEM.shape)
        self._slope = jax.jit(PROBLEM._slope)
        self._refine = jax.jit(
            lambda pores, target, trials: refine_matrices(
                pores, target, trials=trials, **PROBLEM._options(pores.dtype)
            )
        )

    def linearized(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return y [batch, points] and dy/deta [batch, points, sites] of eta [batch, sites]."""
        y, slope = self._slope(jnp.asarray(eta.reshape(self.shape), jnp.float32))
        return np.asarray(y, float), np.asarray(slope, float).reshape(*y.shape, -1)

    def refined(self, eta: np.ndarray, target: np.ndarray, trials: int) -> np.ndarray:
        """Return matrices after trials of flips [batch, sites]."""
        pores = jnp.asarray(eta.reshape(self.shape), jnp.float32)
        result = self._refine(pores, jnp.asarray(target, jnp.float32), trials)
        return np.asarray(result, float).reshape(eta.shape)


def directions(physics: Physics, x: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Return x~ - x [batch, sites] of each kind, for x [batch, sites]."""
    rounded = (x > 0).astype(float)
    y, slope = physics.linearized(rounded)
    residual = target - y
    jacobian = slope * _sigmoid_slope(x, SURROGATE)[:, None]
    bounded = residual / np.sqrt(residual**2 + 1e-4)  # dl/dy of the loss, with smooth_area
    relaxed, of_relaxed = physics.linearized(1 / (1 + np.exp(-x)))
    result = {
        "gradient at the rounded matrix": np.einsum("bmk,bm->bk", jacobian, bounded),
        "Gauss-Newton, relaxed, damping 0.01": gauss_newton(
            of_relaxed * _sigmoid_slope(x, 1.0)[:, None], target - relaxed, 0.01
        ),
    }
    for damping in (0.01, 1.0, 100.0):
        name = f"Gauss-Newton, rounded, damping {damping:g}"
        result[name] = gauss_newton(jacobian, residual, damping)
    signs = 1 - 2 * rounded
    now = np.mean(np.abs(residual), axis=1, keepdims=True)
    after = np.mean(np.abs(slope * signs[:, None] - residual[:, :, None]), axis=1)
    result["all helpful flips, by their predicted effect"] = np.maximum(now - after, 0) * signs
    beyond = signs * (np.abs(x) + 0.5)
    best = after == after.min(axis=1, keepdims=True)
    result["the best flip"] = np.where(best, beyond, 0)
    for trials in (1, 16):
        flipped = physics.refined(rounded, target, trials) != rounded
        result[f"flips, {trials} trials"] = np.where(flipped, beyond, 0)
    return result


def gauss_newton(jacobian: np.ndarray, residual: np.ndarray, damping: float) -> np.ndarray:
    """Return clip(J^T (J J^T + damping tr/K I)^-1 r, -1, 1), [batch, sites]."""
    return np.clip(np.asarray(damped_solve(jacobian, residual, damping), float), -1, 1)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean cosine between rows, of those that are not zero."""
    size = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
    product = np.sum(one * other, axis=-1)
    return float(np.sum(product / np.where(size > 0, size, 1)) / np.sum(size > 0))


def study(options: DirectionOptions) -> None:
    """Print a row for each kind of direction and each training time."""
    isotherms = jax.jit(lambda keys: PROBLEM.isotherm(jax.vmap(PROBLEM._random_matrix)(keys)))
    keys = jax.random.split(jax.random.key(4242), options.pool)
    curves = np.concatenate([isotherms(keys[k : k + 256]) for k in range(0, len(keys), 256)])
    target, others = curves[: options.count], curves[options.count :]
    nearest = np.stack([others[np.abs(others - y).mean(axis=1).argmin()] for y in target])
    waves = np.sin(np.pi * np.arange(1, 4)[:, None] * np.arange(1, 41) / 40)
    noise = np.random.default_rng(0).normal(size=(len(target), 3)) @ waves
    noise *= PERTURBATION / np.abs(noise).mean(axis=1, keepdims=True)
    physics, rows = Physics(), []
    for seconds in options.seconds:
        rows += _rows(physics, seconds, target, nearest, np.clip(target + noise, 0, 1))
    text = markdown_table(HEADS, rows)
    print(text)
    if options.out:
        write_table(options.out, text)


HEADS = (
    *("direction", "Adam, s", "sites", "y* + 0.3 %", "neighbours", "batches"),
    "with the gradient",
)


def _rows(
    physics: Physics, seconds: float, target: np.ndarray, nearest: np.ndarray, moved: np.ndarray
) -> list[list[str]]:
    objective, params, _ = train(Method(PROBLEM, Adam(schedule="cosine")), seconds, seed=0)

    def x_of(curves: np.ndarray) -> np.ndarray:
        x = objective.predict(params, PROBLEM._batch(jnp.asarray(curves)).inputs)
        return np.asarray(x, float).reshape(len(curves), -1)

    @jax.jit
    def pulled(direction: jax.Array, curves: jax.Array) -> jax.Array:
        """Return the direction of the parameters, flat."""
        x = direction.reshape(len(curves), *PROBLEM.shape)
        update = objective.pullback(params, PROBLEM._batch(curves), x)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(update)])

    def batches(direction: np.ndarray) -> np.ndarray:
        parts = [slice(k, k + BATCH) for k in range(0, len(target), BATCH)]
        single = direction.astype(np.float32), target.astype(np.float32)
        return np.asarray([pulled(*(array[part] for array in single)) for part in parts], float)

    of_target = directions(physics, x_of(target), target)
    of_nearest = directions(physics, x_of(nearest), nearest)
    of_moved = directions(physics, x_of(target), moved)
    gradient = batches(of_target["gradient at the rounded matrix"]).sum(axis=0)
    rows = []
    for name, direction in of_target.items():
        updates = batches(direction)
        one, other = np.triu_indices(len(updates), 1)
        numbers = [
            np.mean(direction != 0),
            cosine(direction, of_moved[name]),
            cosine(direction, of_nearest[name]),
            cosine(updates[one], updates[other]),
            cosine(updates.sum(axis=0), gradient),
        ]
        rows.append([name, f"{seconds:g}", *(f"{number:.2f}" for number in numbers)])
    return rows


def _sigmoid_slope(x: np.ndarray, k: float) -> np.ndarray:
    return k / (2 + np.exp(k * x) + np.exp(-k * x))


if __name__ == "__main__":
    sys.exit(script(DirectionOptions, study, __doc__, sys.argv[1:]))
