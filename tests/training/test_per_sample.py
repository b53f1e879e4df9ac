"""network=none: own initial unknowns, and solves that end when they have converged."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Descent, Tiny

import physopt
from physopt.checking import check
from physopt.config import from_words
from physopt.optimizers.spectral import GaussNewton
from physopt.options import OptionError
from physopt.problem import Batch, Problem
from physopt.training.per_sample import PerSample, build_unknowns


@dataclasses.dataclass(frozen=True)
class Squares(Problem):
    """x^2 = c for c in [1, 4]; without a network, and with nowhere to start."""

    defaults: ClassVar = {"batch_size": 4, "heldout_size": 4, "steps": 50, "log_every": 5}

    def sample(self, keys):
        c = jax.vmap(lambda key: jax.random.uniform(key, (1,), minval=1.0, maxval=4.0))(keys)
        return Batch((), c)

    def simulate(self, x, batch):
        return x**2


@dataclasses.dataclass(frozen=True)
class Roots(Squares):
    """The same from x = 10."""

    def initial_unknowns(self, batch):
        return 10 * jnp.ones_like(batch.target)


def test_a_problem_without_a_network_is_solved_from_its_own_unknowns(tmp_path):
    run = physopt.run(Roots(), GaussNewton(adaptive=False), out=tmp_path)
    assert run.config.settings.network == "none"
    setup, x = run.best()
    np.testing.assert_array_equal(jax.tree.leaves(setup.params)[0], np.full((8, 1), 10))
    (solved,) = jax.tree.leaves(x)
    # Newton's method doubles the digits: after 50 steps only float32's rounding is left.
    np.testing.assert_allclose(solved**2, setup.held_out.target, rtol=1e-6)
    with pytest.raises(OptionError, match="network=default"):
        physopt.run(Roots(), Descent(), network="default", out=tmp_path)


def test_check_needs_no_network():
    findings = check(Roots())
    assert [finding for finding in findings if not finding.passed] == []
    assert any(finding.claim.startswith("initial_unknowns") for finding in findings)


def test_a_solve_ends_when_it_has_converged(tmp_path):
    settings = {"out": tmp_path, "log_every": 50}
    whole = physopt.run(Roots(), GaussNewton(adaptive=False), **settings)
    short = physopt.run(Roots(), GaussNewton(adaptive=False), tolerance=1e-4, **settings)
    assert (whole.status["status"], short.status["status"]) == ("ok", "converged")
    assert short.curve.step.iloc[-1] == short.status["step"] < 12
    assert short.curve.converged.iloc[-1] > 0
    # A Newton step below 1e-4 |x| leaves an error of its square.
    np.testing.assert_allclose(short.curve.test_loss.iloc[-1], 0, atol=1e-6)
    assert short.curve.n_simulate.iloc[-1] < whole.curve.n_simulate.iloc[-1] / 4

    again = physopt.resume(short.folder, steps=100)
    assert again.status["status"] == "converged"
    assert again.curve.equals(short.curve)


def test_a_converged_sample_is_left_alone_and_costs_nothing():
    rule = PerSample(GaussNewton(adaptive=False), tolerance=1e-3)
    problem = Roots()
    batch = problem.sample(jax.random.split(jax.random.key(0), 3)).at(0.0)
    solved = jnp.sqrt(batch.target[0])
    objective, params = build_unknowns(problem, jnp.stack([solved * 1.0001, *10 * np.ones((2, 1))]))
    state = rule.init(objective, params, jax.random.key(0))
    update = jax.jit(rule.update)
    counts, updates = [], params
    for _ in range(3):
        updates, state, info = update(objective, params, state, batch, jax.random.key(0))
        counts.append(int(info["n_simulate"]))
        params = jax.tree.map(jnp.add, params, updates)
    assert list(state.converged) == [True, False, False]
    assert not rule.converged(state)
    assert counts[1] == counts[2] == counts[0] * 2 // 3
    (x,) = jax.tree.leaves(updates)
    assert x[0] == 0
    assert (x[1:] != 0).all()


class Still(Descent):
    """Rejects every step."""

    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)
        return jax.tree.map(jnp.zeros_like, updates), state, info


def test_a_rejected_step_is_no_convergence(tmp_path):
    run = physopt.run(Roots(), Still(), tolerance=1e-2, steps=10, out=tmp_path)
    assert run.status["status"] == "ok"
    assert run.curve.step.iloc[-1] == 10


def test_a_tolerance_needs_single_solves():
    with pytest.raises(OptionError, match="tolerance"):
        from_words([f"problem={Tiny.__module__}:Tiny", "rule=adam", "tolerance=1e-3"])


def test_a_problem_needs_a_network_or_initial_unknowns(tmp_path):
    with pytest.raises(OptionError, match="neither network nor initial_unknowns"):
        physopt.run(Squares(), Descent(), out=tmp_path)
