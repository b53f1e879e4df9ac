"""The run loop and its clock."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Descent, Sleepy, Tiny

from physopt.objective import build
from physopt.optimizers.first_order import LBFGS, Adam
from physopt.training.data import (
    FreshSamples,
    TrainingSet,
    batch_key,
    held_out_samples,
    rule_key,
    training_source,
)
from physopt.training.loop import Budget, Clock, compile_program, evaluate, initial_carry, train


def loop(rule, budget, log_every: int | None = 10, stop=lambda: False, seed=0):
    problem = Tiny()
    objective, params = build(problem, "default", seed)
    source = training_source(problem, seed, 4, None)
    key = jax.random.key(seed)
    carry = initial_carry(rule, objective, params, source, key)
    program = compile_program(rule, objective, carry, source, key)
    return list(train(program, carry, Clock(), budget, log_every, stop))


def test_the_loop_matches_a_handwritten_loop():
    problem, rule, steps = Tiny(), Adam(learning_rate=0.01), 25
    objective, params = build(problem, "default", 0)
    transformation = optax.adam(0.01)
    state, key = transformation.init(params), jax.random.key(0)

    @jax.jit
    def by_hand(params, state, step):
        keys = jax.random.split(batch_key(key, step), 4)
        gradient = jax.grad(objective.value)(params, problem.sample(keys).at(0.0))
        updates, state = transformation.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    for step in range(steps):
        params, state = by_hand(params, state, step)
    ours = loop(rule, Budget(steps, None))[-1].carry.params
    # The same float32 operations, fused differently: 25 updates of size 0.01 at 1e-6 relative.
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(ours), strict=True):
        np.testing.assert_allclose(a, b, atol=25 * 0.01 * 1e-6 * 10)


def test_pieces_of_all_lengths_use_one_compiled_program():
    traced = []

    class Counting(Descent):
        def update(self, objective, params, state, batch, key):
            traced.append(1)
            return super().update(objective, params, state, batch, key)

    pieces = loop(Counting(), Budget(57, None))
    assert pieces[-1].clock.step == 57
    assert len({piece.clock.step for piece in pieces}) == len(pieces) > 5
    # Once for the shapes of info, once for the program.
    assert len(traced) == 2


def test_without_log_every_there_are_about_25_reports():
    steps = [p.clock.step for p in loop(Descent(), Budget(200, None), log_every=None) if p.report]
    assert steps == list(range(8, 201, 8))
    timed = loop(Sleepy(seconds=1e-3), Budget(None, 0.5), log_every=None)
    seconds = [piece.clock.t_train for piece in timed if piece.report]
    # One for each 25th of the budget; a slow update may skip some.
    parts = [int(t / 0.02) for t in seconds[:-1]]
    assert len(set(parts)) == len(parts)
    assert 5 <= len(seconds) <= 26
    assert seconds[-1] == timed[-1].clock.t_train >= 0.5


def test_reports_are_due_at_multiples_of_log_every_and_at_the_end():
    pieces = loop(Descent(), Budget(25, None), log_every=10)
    reports = {piece.clock.step: piece.report for piece in pieces if piece.report is not None}
    assert list(reports) == [10, 20, 25]
    counts = [report["n_simulate"] for report in reports.values()]
    assert counts == [40, 40, 20]
    assert all(isinstance(count, int) for count in counts)


def test_the_clock_measures_the_duration_of_updates():
    pieces = loop(Sleepy(seconds=0.05), Budget(6, None))
    clock = pieces[-1].clock
    # sleep never returns early; the loose upper bound detects time that is counted several times.
    assert 6 * 0.05 <= clock.t_train < 60 * 0.05


def test_time_between_pieces_is_not_counted_as_training():
    problem, rule = Tiny(), Descent()
    objective, params = build(problem, "default", 0)
    source, key = training_source(problem, 0, 4, None), jax.random.key(0)
    carry = initial_carry(rule, objective, params, source, key)
    program = compile_program(rule, objective, carry, source, key)
    clock = Clock()
    for piece in train(program, carry, clock, Budget(5, None), 1):
        clock = piece.clock
        time.sleep(0.1)  # a slow evaluation
    assert clock.step == 5
    assert clock.t_train < 0.1


def test_a_time_budget_ends_training_and_sets_progress():
    pieces = loop(Sleepy(seconds=0.02), Budget(None, 0.2), log_every=1)
    clock = pieces[-1].clock
    assert clock.t_train >= 0.2
    assert 2 <= clock.step <= 10
    assert Budget(None, 0.2).pace(Clock(t_train=0.05)) == (0.0, 0.25)
    assert Budget(10, None).pace(Clock(step=5)) == (0.1, 0.0)


def test_stop_is_polled_between_pieces():
    polls = []

    def stop():
        polls.append(1)
        return len(polls) > 2

    assert len(loop(Descent(), Budget(10_000, None), stop=stop)) == 2


def test_a_state_with_repeated_buffers_can_be_donated():
    assert loop(LBFGS(), Budget(3, None))[-1].clock.step == 3


def test_batches_depend_only_on_seed_and_step():
    first, again, other = (training_source(Tiny(), seed, 4, None) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.draw(jnp.int32(3)).target, again.draw(jnp.int32(3)).target)
    assert not np.allclose(first.draw(jnp.int32(3)).target, other.draw(jnp.int32(3)).target)
    assert not np.allclose(first.draw(jnp.int32(3)).target, first.draw(jnp.int32(4)).target)
    key = jax.random.key(1)
    keys = [f(key, jnp.int32(s)) for f in (batch_key, rule_key) for s in range(9)]
    drawn = {tuple(np.asarray(jax.random.key_data(k)).tolist()) for k in keys}
    assert len(drawn) == 18


@pytest.mark.parametrize(("size", "batch"), [(6, 2), (5, 3), (4, 4)])
def test_a_training_set_is_visited_cyclically_in_order(size, batch):
    source = training_source(Tiny(), 0, batch, size)
    assert isinstance(source, TrainingSet)
    samples = np.asarray(source.samples.target)
    for step in (0, 1, 2, 2**30):
        expected = samples[(step * batch + np.arange(batch)) % size]
        np.testing.assert_array_equal(source.draw(jnp.int32(step)).target, expected)


def test_a_smaller_held_out_set_is_a_prefix_of_a_larger_one():
    small, large = held_out_samples(Tiny(), 2), held_out_samples(Tiny(), 5)
    np.testing.assert_array_equal(small.target[:2], large.target[:2])
    np.testing.assert_array_equal(small.target[2:], large.target[5:7])
    assert not np.allclose(large.target[:5], large.target[5:])
    np.testing.assert_array_equal(small.progress, 1)


def test_batch_statistics_are_measured_for_evaluation_only():
    problem = Tiny(normalization="batch")
    objective, params = build(problem, "default", 0)
    source = FreshSamples(jax.random.key(0), problem, 64)
    held_out = held_out_samples(problem, 4)
    whole = evaluate(objective, params, held_out, source, 8).values["loss"]
    # With statistics of a training batch, a sample's loss does not depend on its neighbours.
    part = jax.tree.map(lambda leaf: leaf[:4], held_out)
    np.testing.assert_allclose(
        whole[:4], evaluate(objective, params, part, source, 4).values["loss"], rtol=1e-5
    )
    trained = objective.predict(params, held_out.inputs)
    assert not np.allclose(trained[:4], objective.predict(params, part.inputs), rtol=1e-3)
