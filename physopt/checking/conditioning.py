"""Conditioning: what decides which rule serves a problem, measured before any training.

    cost        milliseconds of simulate, its gradient, linearize and invert, for a batch
    size        outputs |y| and unknowns |x| of a sample, parameters of the network
    condition   largest over smallest singular value of dy/dx of a sample, and of J = dy/dtheta of a
                few samples, at the initial parameters
    refusals    why a rule cannot serve the problem

Gradients of a loss converge at a rate that falls with the square of these condition numbers.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from physopt.checking.refusals import refusal
from physopt.config import RunConfig
from physopt.config.registry import find
from physopt.machine import devices
from physopt.machine.failures import explained
from physopt.objective import flatten
from physopt.problem import Batch, Inverts, Linearizes
from physopt.rule import UpdateRule
from physopt.training.data import stays_the_same
from physopt.training.per_sample import PerSample
from physopt.training.setup import Setup, prepare

SAMPLES = 3
"""Samples whose derivatives are decomposed."""

LARGEST = 2**22
"""Most entries of dy/dx of a batch, and of J J^T, that are computed."""

_EPS = float(np.finfo(np.float64).eps)
_REPEATS, _SECONDS = 20, 0.2  # limits of a timing


class Conditioning(NamedTuple):
    """Costs, sizes and condition numbers of a problem, as {name: text or number}."""

    platform: str
    devices: int
    batch: int
    outputs: int
    unknowns: int
    parameters: int
    milliseconds: dict[str, float | str]
    """{function: milliseconds for a batch, or why it was not measured}."""
    condition: dict[str, float | str]
    """{derivative: condition number, or why there is none}."""
    refusals: dict[str, str]
    """{rule: reason}."""

    def lines(self) -> list[str]:
        """Return the measurements as lines of text."""
        costs = [f"{name} {_text(value, 'ms')}" for name, value in self.milliseconds.items()]
        numbers = [f"{name} {_text(value)}" for name, value in self.condition.items()]
        sizes = f"outputs {self.outputs}, unknowns {self.unknowns}, parameters {self.parameters}"
        refused = [f"refuses   {rule}: {reason}" for rule, reason in self.refusals.items()]
        batch = f"a batch of {self.batch} on {self.platform}"
        lines = [f"size      {sizes}", f"cost      {', '.join(costs)}; {batch}"]
        return [*lines, f"condition {', '.join(numbers)}", *refused]


def conditioning(config: RunConfig, rules: dict[str, UpdateRule]) -> Conditioning:
    """Measure a problem with the settings of a run; {name: rule} are asked whether they refuse it.

    What cannot be measured has a reason in place of a number.
    """
    settings = config.settings
    first = devices.select(settings.device)
    few = settings.heldout_size if settings.network == "none" else SAMPLES
    settings = settings.replace(heldout_size=few, start=None)
    config = RunConfig(config.problem, find("rule", "adam")(), settings)  # which refuses nothing
    with devices.computing(first[0], settings.dtype):
        setup = prepare(config)
        batch = setup.source.draw(jnp.int32(0)).at(0.0)
        x = jax.jit(setup.objective.predict)(setup.params, batch.inputs)
        y = setup.objective.output_shapes(x, batch)
        return Conditioning(
            platform=first[0].platform,
            devices=len(jax.local_devices(backend=settings.device)),
            batch=len(batch),
            outputs=_size(y),
            unknowns=_size(x),
            parameters=setup.objective.parameter_count,
            milliseconds=_costs(setup, x, batch, len(batch) * _size(y) * _size(x)),
            condition=_conditions(config),
            refusals=_refusals(setup, rules),
        )


def condition_number(matrix: Any, noise: float) -> float:
    """Return the largest over the smallest singular value of matrices [..., m, k], the median.

    Values below `noise` times the largest are rounding errors: the result is infinite.
    """
    singular = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    largest, smallest = singular[..., 0], singular[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(smallest > noise * largest, largest / smallest, np.inf)
    return float(np.median(ratios))


def _costs(setup: Setup, x: Any, batch: Batch, entries: int) -> dict[str, float | str]:
    objective, problem = setup.objective, setup.objective.problem
    costs: dict[str, float | str] = {
        "simulate": _measured(lambda: _milliseconds(problem.simulate, x, batch)),
        "simulate and vjp": _measured(
            lambda: _milliseconds(jax.value_and_grad(objective.mean_loss), x, batch)
        ),
    }
    for name, own, function in (
        ("linearize", isinstance(problem, Linearizes), objective.linearize),
        ("invert", isinstance(problem, Inverts), objective.invert),
    ):
        label = name if own else f"{name} (generic)"
        if entries > LARGEST and not (own and name == "invert"):
            costs[label] = f"not measured, dy/dx has {entries:.3g} entries"
        else:
            costs[label] = _measured(partial(_milliseconds, function, x, batch))
    return costs


def _conditions(config: RunConfig) -> dict[str, float | str]:
    """Return the condition numbers of dy/dx and J, computed in float64 on a CPU."""
    settings = config.settings.replace(dtype="float64", device="cpu", devices=1)
    with devices.computing(devices.select("cpu")[0], "float64"):
        few = cache(partial(_few, RunConfig(config.problem, config.rule, settings)))
        return {
            "of dy/dx": _measured(lambda: _condition_of_physics(*few())),
            "of J": _measured(lambda: _condition_of_network(*few())),
        }


def _few(config: RunConfig) -> tuple[Setup, Any, Batch, int]:
    """Return the setup, x and SAMPLES training samples, and the components of their y."""
    setup = prepare(config)
    whole = setup.source.draw(jnp.int32(0)).at(0.0)
    x = jax.jit(setup.objective.predict)(setup.params, whole.inputs)
    x, batch = jax.tree.map(lambda leaf: leaf[:SAMPLES], (x, whole))
    return setup, x, batch, len(batch) * _size(setup.objective.output_shapes(x, batch))


def _condition_of_physics(setup: Setup, x: Any, batch: Batch, rows: int) -> float | str:
    """Return the median condition number of dy/dx of a sample."""
    if rows * _size(x) > LARGEST:
        return f"not measured, dy/dx has {rows * _size(x):.3g} entries"
    return condition_number(
        jax.jit(setup.objective.linearize)(x, batch)[1], _EPS * (rows + _size(x))
    )


def _condition_of_network(setup: Setup, x: Any, batch: Batch, rows: int) -> float | str:
    """Return the condition number of dy/dtheta of SAMPLES samples, from J J^T."""
    if isinstance(setup.rule, PerSample):
        return "there is no network"
    if reason := setup.objective.without_jacobians():
        return reason
    if rows**2 > LARGEST:
        return f"not measured, J J^T has {rows**2:.3g} entries"
    gram = jax.jit(lambda params, batch: setup.objective.linearised(params, batch).gram())
    return condition_number(gram(setup.params, batch), _EPS * rows) ** 0.5


def _refusals(setup: Setup, rules: dict[str, UpdateRule]) -> dict[str, str]:
    reasons = {name: _refusal(setup, rule) for name, rule in rules.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _refusal(setup: Setup, rule: UpdateRule) -> str | None:
    own = setup.rule
    wrapped = PerSample(rule, own.tolerance) if isinstance(own, PerSample) else rule
    if rule.one_batch and not stays_the_same(setup.source):
        return "needs the same batch in every update: train_size=batch_size"
    batch = jax.eval_shape(lambda: setup.source.draw(jnp.int32(0)).at(0.0))
    return refusal(wrapped, setup.objective, setup.params, batch)


def _milliseconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the median time of a compiled function."""
    compiled = jax.jit(function).lower(*arguments).compile()
    jax.block_until_ready(compiled(*arguments))
    times: list[float] = []
    while len(times) < _REPEATS and sum(times) < _SECONDS:
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def _measured(function: Callable[[], float | str]) -> float | str:
    """Return a measurement, or why it failed: a race goes on without it."""
    try:
        return function()
    except Exception as error:
        return f"failed: {explained(error)[:200]}"


def _size(tree: Any) -> int:
    """Return the numbers in one sample of a tree of leaves [batch, ...]."""
    return jax.eval_shape(_flat, tree).shape[1]


def _flat(tree: Any) -> jax.Array:
    return flatten(jax.tree.map(jnp.real, tree))


def _text(value: float | str, unit: str = "") -> str:
    if isinstance(value, str):
        return f"({value})"
    return f"{value:.3g} {unit}".strip() if np.isfinite(value) else "beyond what rounding resolves"
