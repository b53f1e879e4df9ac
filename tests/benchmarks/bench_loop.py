"""The run loop against a jitted loop written by hand that makes the same updates.

    python -m pytest -n0 -s tests/benchmarks/bench_loop.py

The aim is a ratio of medians under 1.02: what physopt adds to training is not worth a thought.
"""

import statistics
import time
from functools import partial

import jax
import optax
import pytest

from physopt.objective import build
from physopt.optimizers.first_order import Adam
from physopt.problems.ldft.named import LDFT2D
from physopt.training.data import batch_key, training_source
from physopt.training.loop import Budget, Clock, compile_program, initial_carry, train

ROUNDS, BATCH = 9, 8
SMALL = LDFT2D(size=6, points=10, targets="procedural")


@pytest.mark.parametrize("problem", [SMALL, LDFT2D(targets="procedural")], ids=["small", "full"])
def test_overhead_of_the_run_loop(benchmark, problem):
    updates = 1500 if problem is SMALL else 60  # about a second each
    ours, by_hand = _run_loop(problem, updates), _loop_by_hand(problem, updates)
    times = {ours: [], by_hand: []}
    for loop in times:
        loop()
    for _ in range(ROUNDS):  # interleaved, so that both see the same machine
        for loop, seconds in times.items():
            start = time.perf_counter()
            loop()
            seconds.append(time.perf_counter() - start)
    medians = [statistics.median(seconds) for seconds in times.values()]
    benchmark.extra_info["ratio"] = medians[0] / medians[1]
    print(
        f"\n{1e3 * medians[0] / updates:.3f} ms an update in the run loop, "
        f"{1e3 * medians[1] / updates:.3f} ms by hand: ratio {medians[0] / medians[1]:.3f}"
    )
    benchmark.pedantic(ours, rounds=1)


def _run_loop(problem, updates):
    rule, key = Adam(), jax.random.key(0)
    objective, params = build(problem, "default", 0)
    source = training_source(problem, 0, BATCH, None)
    first = initial_carry(rule, objective, params, source, key)
    program = compile_program(rule, objective, first, source, key)

    def loop():
        carry = jax.tree.map(lambda leaf: leaf.copy(), first)
        for piece in train(program, carry, Clock(), Budget(updates, None), updates):
            carry = piece.carry
        return carry

    return loop


def _loop_by_hand(problem, updates):
    objective, first = build(problem, "default", 0)
    transformation, key = optax.adam(1e-3), jax.random.key(0)

    def update(step, carry):
        params, state = carry
        batch = problem.sample(jax.random.split(batch_key(key, step), BATCH))
        loss_gradient = jax.value_and_grad(objective.value)
        _, gradient = loss_gradient(params, batch.at(step / updates))
        changes, state = transformation.update(gradient, state, params)
        return optax.apply_updates(params, changes), state

    compiled = jax.jit(partial(jax.lax.fori_loop, 0, updates, update), donate_argnums=0)

    def loop():
        params = jax.tree.map(lambda leaf: leaf.copy(), first)
        return jax.block_until_ready(compiled((params, transformation.init(params))))

    return loop
