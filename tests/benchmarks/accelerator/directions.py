"""Losses, gradients and half-inverse directions of training against float64."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from accelerator.correctness import SECTION
from accelerator.rows import ERROR, Case, Row
from physopt.config import from_words
from physopt.machine.devices import cast
from physopt.machine.threads import blas_limited
from physopt.objective import Objective, build, flatten
from physopt.problem import Batch

PROBLEMS = ("quantum", "oscillators", "burgers")
VALUE, GRADIENT, DIRECTION = 1e-4, 1e-3, 1e-3
"""Limits of relative errors in float32."""


def training_case(problem: str, batch: int) -> tuple[Objective, Any, Batch, Any]:
    """Return objective, parameters and a batch of a new run in float32, and the rule `hig`."""
    config = from_words([f"problem={problem}", "rule=hig", f"batch_size={batch}"])
    objective, params = build(config.problem, "default", seed=0)
    samples = config.problem.sample(jax.random.split(jax.random.key(1), batch)).at(0.0)
    objective, params, samples = cast((objective, params, samples), "float32")
    return objective, params, samples, config.rule


def flat(tree: Any) -> np.ndarray:
    """Return the entries of a pytree as one float64 vector."""
    return np.concatenate([np.asarray(a, np.float64).ravel() for a in jax.tree.leaves(tree)])


def relative(values: np.ndarray, expected: np.ndarray) -> float:
    """Return |values - expected| / |expected|."""
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


def gradient_errors(problem: str, name: str) -> list[Row]:
    """Compare the loss of a batch and its gradient with float64 on the CPU."""
    objective, params, batch, _ = training_case(problem, 16)

    def loss(objective: Objective, params: Any, batch: Batch) -> Any:
        return objective.value(params, batch)

    derivative = jax.jit(jax.value_and_grad(loss, argnums=1))
    value, gradient = jax.device_get(derivative(objective, params, batch))
    host = jax.device_get((objective, params, batch))
    with jax.enable_x64(True), jax.default_device(jax.local_devices(backend="cpu")[0]):
        arguments = cast(jax.tree.map(jnp.asarray, host), "float64")
        exact, exact_gradient = jax.device_get(derivative(*arguments))
    errors = abs(float(value) / float(exact) - 1), relative(flat(gradient), flat(exact_gradient))
    return [
        Row(f"{name}: loss", SECTION, ERROR, errors[0], VALUE),
        Row(f"{name}: gradient", SECTION, ERROR, errors[1], GRADIENT),
    ]


def direction_error(problem: str, batch: int, name: str) -> list[Row]:
    """Compare an update with V S^(-1/2) U^T r by a float64 decomposition; r as in `HalfInverse`."""
    objective, params, samples, rule = training_case(problem, batch)
    state = rule.init(objective, params, jax.random.key(0))
    update = jax.jit(rule.update)(objective, params, state, samples, jax.random.key(0))
    direction = -flat(jax.device_get(update[0])) / rule.learning_rate
    with jax.enable_x64(True), blas_limited(None):
        objective, params, samples = cast((objective, params, samples), "float64")
        exact, values = exact_direction(objective, params, samples, rule.cutoff(objective, params))
    return [
        Row(f"{name}: direction", SECTION, ERROR, relative(direction, exact), DIRECTION),
        Row(f"{name}: outputs", SECTION, ERROR, float(len(values))),
    ]


def exact_direction(objective: Objective, params: Any, batch: Batch, tau: float) -> Any:
    """Return the direction and the singular values of J; those below tau s_max are left out."""
    vector, unravel = ravel_pytree(params)
    samples = jax.tree.map(lambda leaf: leaf[:, None], batch)

    def outputs(vector: jax.Array, sample: Batch) -> jax.Array:
        return flatten(objective.outputs(unravel(vector), sample))[0]

    rows = jax.jit(lambda v, s: jax.lax.map(lambda one: jax.jacrev(outputs)(v, one), s))
    jacobian = rows(vector, samples).reshape(-1, vector.size)
    _, gradient = objective.output_gradient(objective.outputs(params, batch), batch)
    squares, basis = jnp.linalg.eigh(jacobian @ jacobian.T)
    values = jnp.sqrt(jnp.maximum(squares, 0))
    kept = values >= tau * values[-1]
    weights = jnp.where(kept, jnp.where(kept, squares, 1) ** -0.75, 0)
    direction = jacobian.T @ (basis @ (weights * (basis.T @ flatten(gradient).ravel())))
    # The residual is sqrt(b) times the gradient, and the Jacobian J / sqrt(b).
    return len(batch) ** 0.75 * np.asarray(direction), np.asarray(values)


def cases(small: bool) -> list[Case]:
    """Return the comparisons."""
    gradients = [
        Case(name, SECTION, partial(gradient_errors, problem, name))
        for problem in PROBLEMS
        for name in [f"{problem} float32 against CPU float64"]
    ]
    batches = {"quantum": 16, "oscillators": 32, "poisson8": 8 if small else 64}
    return gradients + [
        Case(name, SECTION, partial(direction_error, problem, batch, name))
        for problem, batch in batches.items()
        for name in [f"half-inverse {problem}, batch {batch}, against float64"]
    ]
