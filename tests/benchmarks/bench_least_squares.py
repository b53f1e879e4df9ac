"""Levenberg-Marquardt: time to 4 certified digits of NIST data sets, against optimistix.

    python -m pytest tests/benchmarks/bench_least_squares.py -s

Each solver is one compiled loop that ends at the certified parameters. The two take turns, so that
a loaded machine slows them alike; medians are compared.
"""

import time
from collections.abc import Callable
from typing import Any

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
from nist import MODELS, SETS, Regression, observed, padded

from physopt.optimizers.spectral.levenberg_marquardt import LevenbergMarquardt
from physopt.training.per_sample import build_unknowns

UPDATES, ROUNDS, GOAL = 1000, 31, 1.5

Loop = Callable[[], tuple[jax.Array, jax.Array]]  # -> parameters, updates


def certified(name: str, parameters: jax.Array) -> jax.Array:
    """Return whether every parameter has 4 certified digits."""
    return jnp.all(jnp.abs(parameters / observed(name)[3] - 1) < 1e-4)


def loop_of(name: str, step: Callable[[Any], Any], read: Callable[[Any], jax.Array]) -> Any:
    """Return the function that repeats a step until the parameters are certified."""

    def unfinished(carry: Any) -> jax.Array:
        return ~certified(name, read(carry[0])) & (carry[1] < UPDATES)

    def run(begin: Any) -> tuple[jax.Array, jax.Array]:
        carry = begin, jnp.int32(0)
        end = jax.lax.while_loop(unfinished, lambda c: (step(c[0]), c[1] + 1), carry)
        return read(end[0]), end[1]

    return run


def ours(name: str, start: int) -> Loop:
    """Return the loop of `LevenbergMarquardt` with its defaults."""
    rule, key = LevenbergMarquardt(), jax.random.key(0)
    batch = padded(name, start, len(SETS[name]["y"]))
    objective, params = build_unknowns(Regression(name), batch.inputs)

    def step(carry: Any) -> Any:
        params, state = carry
        updates, state, _ = rule.update(objective, params, state, batch, key)
        return optax.apply_updates(params, updates), state

    run = loop_of(name, step, lambda carry: jax.tree.leaves(carry[0])[0][0])
    begin = params, rule.init(objective, params, key)
    program = jax.jit(run).lower(begin).compile()
    return lambda: program(begin)


def theirs(name: str, start: int) -> Loop:
    """Return the loop of optimistix's Levenberg-Marquardt."""
    x, y, starts, _ = observed(name)
    solver, nothing = optimistix.LevenbergMarquardt(rtol=1e-12, atol=1e-12), frozenset()
    begin = jnp.asarray(starts[start])

    def residual(b: jax.Array, _: Any) -> tuple[jax.Array, None]:
        return MODELS[name](b, x, jnp) - y, None

    shape = jax.eval_shape(lambda: residual(begin, None)[0])
    first = solver.init(residual, begin, None, {}, shape, None, nothing)
    _, static = equinox.partition(first, equinox.is_array)

    def step(carry: Any) -> Any:
        b, arrays = carry
        state = equinox.combine(arrays, static)
        b, state, _ = solver.step(residual, b, None, {}, state, nothing)
        return b, equinox.filter(state, equinox.is_array)

    run = loop_of(name, step, lambda carry: carry[0])
    arrays = equinox.filter(first, equinox.is_array)
    program = jax.jit(run).lower((begin, arrays)).compile()
    return lambda: program((begin, arrays))


@pytest.mark.parametrize("name", ["Chwirut1", "Gauss1", "Thurber"])
@pytest.mark.parametrize("start", [0, 1])
def test_time_to_four_digits(name: str, start: int) -> None:
    with jax.enable_x64(True):
        loops = {"physopt": ours(name, start), "optimistix": theirs(name, start)}
        seconds: dict[str, list[float]] = {label: [] for label in loops}
        updates = {}
        for _ in range(ROUNDS):
            for label, loop in loops.items():
                begin = time.perf_counter()
                parameters, count = jax.block_until_ready(loop())
                seconds[label].append(time.perf_counter() - begin)
                updates[label] = int(count)
                if label == "physopt":
                    assert certified(name, parameters)
    median = {label: float(np.median(times)) for label, times in seconds.items()}
    each = ", ".join(f"{k} {1e3 * v:.2f} ms, {updates[k]} updates" for k, v in median.items())
    ratio = median["physopt"] / median["optimistix"]
    print(f"\n{name}, start {start + 1}: {each}; ratio {ratio:.2f} (goal {GOAL})")
