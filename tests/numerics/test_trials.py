"""A solve that fails in a trial is a loss of infinity; one that fails in an update ends the run."""

import dataclasses

import equinox
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

import physopt
from physopt.machine.failures import own_words
from physopt.numerics.trials import failing_as_nan, lost_if_nan
from physopt.objective import build
from physopt.optimizers.evolution import OpenES
from physopt.optimizers.first_order import LBFGS
from physopt.optimizers.metropolis import Metropolis
from physopt.optimizers.sip import SIP
from physopt.optimizers.spectral import GaussNewton
from physopt.training.per_sample import build_unknowns

LIMIT = 1.5
MESSAGE = "the maximum number of solver steps was reached"


@equinox.filter_jit
def solved(x):
    """Fail as diffrax and optimistix do, behind a compiled function of its own."""
    return equinox.error_if(x, jnp.abs(x) > LIMIT, MESSAGE)


@dataclasses.dataclass(frozen=True)
class Fragile(Tiny):
    """Raises where |x| > LIMIT."""

    def simulate(self, x, batch):
        return super().simulate(solved(x), batch)


@dataclasses.dataclass(frozen=True)
class FragileInverse(Tiny):
    """Has an inverse solver that fails for targets above 0.5: equinox fails the whole batch."""

    def invert(self, x, batch):
        return equinox.error_if(batch.target, batch.target > 0.5, MESSAGE)


@dataclasses.dataclass(frozen=True)
class PartlyFragileInverse(Tiny):
    """The same, by its own NaN: samples fail one by one."""

    def invert(self, x, batch):
        return jnp.where(batch.target > 0.5, jnp.nan, batch.target)


def test_only_trials_turn_a_failure_into_nan():
    @jax.jit
    def both(x, y):
        with failing_as_nan():
            trial = solved(y)
        return solved(x), trial

    x, trial = both(jnp.float32(1), jnp.float32(3))
    assert x == 1
    assert jnp.isnan(trial)
    with pytest.raises(Exception, match=MESSAGE):
        jax.block_until_ready(both(jnp.float32(3), jnp.float32(1)))
    np.testing.assert_array_equal(lost_if_nan(jnp.array([1.0, jnp.nan])), [1.0, jnp.inf])


# Steps so long that a trial fails, from parameters at which the physics does not.
SEARCHES = [
    GaussNewton(learning_rate=1e4),
    Metropolis(sigma=1e3),
    OpenES(sigma=1e3, population=4),
    LBFGS(),
    SIP(damping=1e-6),
]


@pytest.mark.parametrize("rule", SEARCHES, ids=lambda rule: type(rule).__name__)
def test_a_rule_survives_trials_that_fail(rule):
    problem = Fragile()
    batch = problem.sample(jax.random.split(jax.random.key(1), 8)).at(0.0)
    # Targets far outside: every good step leads beyond the limit.
    batch = dataclasses.replace(batch, target=100 * jnp.ones_like(batch.target))
    objective, params = build_unknowns(problem, jnp.zeros_like(batch.target))
    assert jnp.isinf(objective.trial(jax.tree.map(lambda p: p + 2, params), batch))
    state = rule.init(objective, params, jax.random.key(0))
    updates, _, info = jax.jit(rule.update)(objective, params, state, batch, jax.random.key(0))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(updates))
    assert jnp.isfinite(info["loss"])


@pytest.mark.parametrize("problem", [FragileInverse(), PartlyFragileInverse()])
def test_an_inverse_solver_that_fails_leaves_its_samples_alone(problem):
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(1), 8)).at(0.0)
    x = objective.predict(params, batch.inputs)
    inverted = jax.jit(objective.invert)(x, batch)
    failed = batch.target > 0.5
    assert failed.any()
    assert not failed.all()
    whole = isinstance(problem, FragileInverse)
    np.testing.assert_array_equal(jnp.isnan(inverted), failed | whole)
    rule = SIP()
    state = rule.init(objective, params, jax.random.key(0))
    updates, _, _ = jax.jit(rule.update)(objective, params, state, batch, jax.random.key(0))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(updates))


@dataclasses.dataclass(frozen=True)
class FailsOnHost(Tiny):
    """A solver in Python that raises."""

    def simulate(self, x, batch):
        def solve(x):
            raise ArithmeticError("no convergence in 100 sweeps\nresidual 0.3")

        return jax.pure_callback(solve, x, x)


class FailsInEquinox(Fragile):
    def simulate(self, x, batch):
        return super().simulate(x + 10, batch)


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (FailsOnHost(), "ArithmeticError: no convergence in 100 sweeps"),
        (FailsInEquinox(), f"EquinoxRuntimeError: {MESSAGE}"),
    ],
)
def test_a_run_ends_with_the_exception_s_own_line(tmp_path, capfd, problem, words):
    with pytest.raises(Exception, match="callback") as caught:
        physopt.run(problem, Metropolis(), out=tmp_path)
    assert own_words(caught.value) == words
    (record,) = tmp_path.glob("*/*/*/status.json")
    run = physopt.load(record.parent)
    assert (run.status["status"], run.status["reason"]) == ("error", words)
    assert "Traceback" not in capfd.readouterr().err


def test_own_words_of_plain_exceptions():
    assert own_words(ValueError("two\nlines")) == "ValueError: two lines"
    assert own_words(KeyError("a")) == "KeyError: 'a'"
    assert own_words(MemoryError()) == "MemoryError:"
