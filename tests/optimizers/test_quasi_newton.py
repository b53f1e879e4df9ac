"""Self-scaled Broyden: known numbers of updates, its matrix, restarts, and the reuse of gradients.

All tests share one compiled update: which function is minimised is part of the batch.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny

from physopt import Batch, Problem
from physopt.config.run_config import make_config
from physopt.optimizers import quasi_newton
from physopt.optimizers.quasi_newton import RESTART, RESTARTS, QuasiNewton
from physopt.rule import PlanError
from physopt.training.per_sample import build_unknowns
from physopt.training.setup import plan, prepare

KEY = jax.random.key(0)
SIZE = 20
FUNCTIONS = {
    "quadratic": lambda x, scales, _: 0.5 * jnp.sum((scales * x) ** 2),
    "rosenbrock": lambda x, *_: jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2),
    "kink": lambda x, scales, _: jnp.sum(jnp.abs(scales * x)),
    "annealed": lambda x, scales, progress: jnp.sum(scales * (x - progress) ** 2),
}


@dataclasses.dataclass(frozen=True)
class Loss(Problem):
    """A function of the unknowns of one sample; extra holds its index and scales."""

    def sample(self, keys):
        raise NotImplementedError

    def simulate(self, x, batch):
        number, scales = batch.extra
        arguments = x[0], scales[0], batch.progress[0].astype(x.dtype)
        return jax.lax.switch(number[0], tuple(FUNCTIONS.values()), *arguments)[None]

    def loss(self, y, batch):
        return y


def case(function, start: Any, scales: Any = 1.0):
    x, scales = (jnp.broadcast_to(jnp.asarray(v, float), (1, SIZE)) for v in (start, scales))
    number = jnp.asarray([list(FUNCTIONS).index(function)])
    batch = Batch(x, x, (number, scales)).at(0.0)
    return *build_unknowns(Loss(), x), batch


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def rule():
    return QuasiNewton()


@pytest.fixture(scope="module")
def update(rule):
    return jax.jit(rule.update)


def iterate(rule, update, objective, params, batch, updates, state=None):
    """Return the last parameters, all states and all infos; ends where the rule has converged."""
    states, infos = [state or rule.init(objective, params, KEY)], []
    for _ in range(updates):
        step, state, info = update(objective, params, states[-1], batch, KEY)
        params = optax.apply_updates(params, step)
        states.append(state)
        infos.append({name: float(value) for name, value in info.items()})
        if rule.converged(state):
            break
    return params, states, infos


def test_a_quadratic_of_condition_1e6_takes_3_updates_per_parameter(rule, update):
    start = np.random.default_rng(0).normal(size=SIZE)
    arguments = case("quadratic", start, np.logspace(0, 3, SIZE))
    _, _, infos = iterate(rule, update, *arguments, 3 * SIZE)
    assert infos[-1]["loss"] < 1e-12


def test_the_matrix_stays_symmetric_and_positive_definite_on_rosenbrock(rule, update):
    arguments = case("rosenbrock", np.resize([-1.2, 1.0], SIZE))
    _, states, infos = iterate(rule, update, *arguments, 500)
    losses = [info["loss"] for info in infos]
    assert np.all(np.diff(losses) <= 0)
    assert losses[-1] < 1e-20
    for state in states:
        np.testing.assert_array_equal(state.inverse, state.inverse.T)
        assert np.linalg.eigvalsh(state.inverse)[0] > 0
    # One gradient per update, because the line search ends with the next one.
    assert [info["n_vjp"] - info["trials"] for info in infos] == [1, *[0] * (len(infos) - 1)]
    assert np.mean([info["trials"] for info in infos if info["accepted"]]) < 1.3


def test_a_kink_restarts_the_matrix_and_then_ends_the_run(rule, update):
    """Where one component is 0, no step along -H g lowers the sum of |x| any more."""
    scales = np.where(np.arange(SIZE) < 2, [30.0, 1.0] * (SIZE // 2), 0)
    _, states, infos = iterate(rule, update, *case("kink", 0.7, scales), 400)
    assert rule.converged(states[-1])
    assert states[-1].restarts == RESTARTS + 1
    assert sum(not info["accepted"] for info in infos) == RESTARTS + 1
    np.testing.assert_array_equal(states[-1].inverse, RESTART * np.eye(SIZE))


def test_a_failed_line_search_leaves_the_parameters(rule, update):
    """At the minimum the gradient of |x| is not 0: every step goes up."""
    objective, params, batch = case("kink", 0.0)
    params = jax.tree.map(lambda leaf: leaf.at[..., 0].set(1e-30), params)
    state = rule.init(objective, params, KEY)
    step, after, info = update(objective, params, state, batch, KEY)
    assert info["accepted"] == 0
    assert info["grad_norm"] > 0
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(step))
    assert after.restarts == 1
    assert after.loss == info["loss"]


def test_another_batch_or_progress_gets_its_own_gradient(rule, update):
    objective, params, batch = case("annealed", np.linspace(-1, 2, SIZE))
    params, states, _ = iterate(rule, update, objective, params, batch, 1)
    number, scales = batch.extra
    other = dataclasses.replace(batch, extra=(number, scales.at[0, 3].set(2.0)))
    for samples, gradients in ((batch, 0), (other, 1), (batch.at(0.5), 1)):
        _, _, info = update(objective, params, states[-1], samples, KEY)
        np.testing.assert_allclose(info["loss"], objective.value(params, samples))
        assert info["n_vjp"] - info["trials"] == gradients


def test_progress_counts_only_where_the_loss_depends_on_it():
    problem = Tiny(size=2)
    batch = problem.sample(jax.random.split(KEY, 3)).at(0.0)
    objective, params = build_unknowns(problem, batch.inputs)
    marks = [quasi_newton._mark(objective, params, batch.at(t)) for t in (0.0, 0.5)]
    assert marks[0] == marks[1]
    objective, params, batch = case("annealed", 1.0)
    marks = [quasi_newton._mark(objective, params, batch.at(t)) for t in (0.0, 0.5)]
    assert marks[0] != marks[1]


def test_the_plan_warns_of_float32_and_refuses_a_matrix_that_is_too_large(rule, monkeypatch):
    arguments = case("quadratic", 1.0)
    assert rule.plan(*arguments) == "dense inverse Hessian [20, 20]"
    objective, params, batch = arguments
    narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    assert "dtype=float64 helps" in rule.plan(objective, narrow, batch)
    monkeypatch.setattr(quasi_newton, "memory_limit", lambda: 100.0)
    with pytest.raises(PlanError, match="20 parameters"):
        rule.plan(*arguments)


@pytest.mark.parametrize(("train_size", "warned"), [(None, True), (8, True), (4, False)])
def test_a_run_is_warned_of_batches_that_change(rule, train_size, warned):
    config = make_config(Tiny(), rule, {"batch_size": 4, "train_size": train_size})
    assert ("train_size=batch_size" in str(plan(prepare(config)))) == warned
