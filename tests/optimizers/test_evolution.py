"""Neuroevolution and evolution strategies: statistics of their steps against the formulas.

Every statistical test has fixed keys and a stated standard error; its bound is four of them.
"""

import dataclasses
import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from physopt.objective import build
from physopt.optimizers.evolution import CMAES, OpenES
from physopt.optimizers.metropolis import Metropolis
from physopt.problem import Batch
from physopt.training.per_sample import PerSample, build_unknowns

LANES = 20_000


@dataclasses.dataclass(frozen=True)
class Bowl(Tiny):
    """L = 1/2 |x|^2 for every sample."""

    def simulate(self, x, batch):
        return x


def lanes(start, count=LANES):
    """Return `count` independent copies of x, each its own problem."""
    x = jnp.tile(jnp.asarray(start), (count, 1))
    batch = Batch(jnp.zeros_like(x), jnp.zeros_like(x)).at(0.0)
    return (*build_unknowns(Bowl(size=len(start)), x), batch)


def steps(rule, start, count, lanes_count=LANES):
    """Return x after `count` updates of every lane, and the share of accepted proposals."""
    every = PerSample(rule)
    objective, x, batch = lanes(start, lanes_count)

    @jax.jit
    def run(x):
        def body(step, carry):
            x, state, accepted = carry
            key = jax.random.fold_in(jax.random.key(7), step)
            updates, state, info = every.update(objective, x, state, batch, key)
            return jax.tree.map(jnp.add, x, updates), state, accepted + info["accepted"]

        state = every.init(objective, x, jax.random.key(0))
        return jax.lax.fori_loop(0, count, body, (x, state, jnp.float32(0)))

    x, state, accepted = run(x)
    total = jnp.sum(state.state.accepted) / (count * lanes_count)
    np.testing.assert_allclose(accepted / count, total, rtol=1e-4)
    return np.asarray(objective.predict(x, batch.inputs), np.float64), float(total)


@pytest.mark.parametrize("beta", [0.5, 4.0])
def test_acceptance_follows_the_formula(beta):
    """E min(1, exp(-beta rise)) over eps ~ N(0, sigma^2), by quadrature, at x = 1."""
    sigma = 0.8
    z = np.linspace(-8, 8, 20_001)
    weight = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    rise = 0.5 * (1 + sigma * z) ** 2 - 0.5
    expected = np.sum(weight * np.minimum(1, np.exp(-beta * rise)))
    _, accepted = steps(Metropolis(sigma=sigma, beta=beta), [1.0], 1)
    error = math.sqrt(expected * (1 - expected) / LANES)
    assert abs(accepted - expected) < 4 * error


def test_a_chain_samples_the_boltzmann_distribution():
    """Detailed balance: <x^2> = 1/beta, relative standard error sqrt(2 / lanes) = 2.2 %.

    A hundred steps of 1.5 standard deviations decorrelate from the start.
    """
    beta, count = 4.0, 4000
    x, _ = steps(Metropolis(sigma=0.75, beta=beta), [0.3], 100, count)
    assert abs(beta * np.mean(x**2) - 1) < 4 * math.sqrt(2 / count)


@pytest.mark.parametrize("beta", [None, 400.0])
def test_small_steps_drift_down_the_gradient(beta):
    """The mean step is along -grad L = -x, of the length that the acceptance formula gives.

    With t = eps . grad L / (sigma |grad L|) ~ N(0, 1) and a = beta sigma |grad L|, the rise is
    sigma |grad L| t to first order, and E[t min(1, exp(-a t))] = -a exp(a^2/2) Phi(-a), which tends
    to -1/sqrt(2 pi) for large a. The next order is sigma / |grad L| = 5e-4 of it.
    """
    start, sigma = np.array([1.2, -1.6, 0.0]), 1e-3
    slope = np.linalg.norm(start)
    x, accepted = steps(Metropolis(sigma=sigma, beta=beta), list(start), 1)
    if beta is None:
        drift = 1 / math.sqrt(2 * math.pi)
        assert abs(accepted - 0.5) < 4 * math.sqrt(0.25 / LANES)
    else:
        a = beta * sigma * slope
        drift = a * math.exp(a**2 / 2) * 0.5 * math.erfc(a / math.sqrt(2))
    moved = (x - start) / sigma
    error = np.std(moved, axis=0) / math.sqrt(LANES)
    assert (np.abs(np.mean(moved, axis=0) + drift * start / slope) < 4 * error + 1e-3).all()


def case(problem, batch=4):
    objective, params = build(problem, "default", seed=0)
    return objective, params, problem.sample(jax.random.split(jax.random.key(1), batch)).at(0.0)


def train(rule, objective, params, batch, count):
    """Return the loss before every update, and the last parameters."""

    def body(carry, key):
        params, state = carry
        updates, state, info = rule.update(objective, params, state, batch, key)
        return (jax.tree.map(jnp.add, params, updates), state), info["loss"]

    keys = jax.random.split(jax.random.key(3), count)
    start = (params, rule.init(objective, params, jax.random.key(0)))
    (params, _), losses = jax.jit(lambda start: jax.lax.scan(body, start, keys))(start)
    return np.asarray(losses), params


def test_without_temperature_the_loss_never_rises():
    losses, _ = train(Metropolis(sigma=0.05), *case(Tiny()), count=300)
    assert (np.diff(losses) <= 0).all()
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_an_adapted_sigma_follows_the_distance_to_the_minimum(scale):
    """On |x|^2 in n dimensions the rule of one fifth gains up to 0.2 / n in log |x| a proposal.

    While sigma is far too small half of the proposals succeed, and log sigma rises by 0.03 each: a
    factor of 1e8 takes 614. A quarter of the best gain in the others is 14 in the log of the loss.
    """
    with jax.enable_x64(True):
        objective, x, batch = lanes([scale, -scale, scale, scale], 1)
        losses, _ = train(Metropolis(), objective, x, batch, count=1200)
    assert losses[-1] < np.exp(-14) * losses[0]


def test_a_change_that_only_fits_its_batch_is_no_success():
    """Where the loss of each batch is drawn anew, half of the changes are accepted, and half of
    these lower the next loss: sigma grows by 0.1 (1/4 - 1/5) an update, instead of 0.1 (1/2 - 1/5)
    on the batch that stays.
    """
    start, growth = jnp.zeros(400), {}
    for fresh in (False, True):
        objective, x, batch = lanes(start, 1)
        rule = Metropolis()
        update, state = jax.jit(rule.update), rule.init(objective, x, jax.random.key(0))
        first = state.sigma
        for k in range(200):
            draw = jax.random.key(1000 + k if fresh else 1000)
            batch = dataclasses.replace(batch, target=1e3 * jax.random.normal(draw, (1, 400)))
            step, state, _ = update(objective, x, state, batch, jax.random.key(k))
            x = jax.tree.map(jnp.add, x, step)
        growth[fresh] = float(jnp.log(state.sigma / first)) / 200
    # Binomial errors of 200 updates: 0.1 sqrt(0.25 / 200) = 0.0035.
    assert abs(growth[False] - 0.03) < 4 * 0.0035
    assert abs(growth[True] - 0.005) < 4 * 0.0035


def test_sigma_does_not_vanish_where_nothing_succeeds():
    """At the minimum every change raises the loss; eps takes 16 / 0.02 = 800 updates."""
    objective, x, batch = lanes([0.0, 0.0], 1)
    rule = Metropolis()
    update, state = jax.jit(rule.update), rule.init(objective, x, jax.random.key(0))
    for k in range(1000):
        _, state, _ = update(objective, x, state, batch, jax.random.key(k))
    np.testing.assert_allclose(state.sigma, 1e-2 * np.finfo(np.float32).eps, rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Brittle(Tiny):
    """Returns NaN beyond |x| = 2."""

    def simulate(self, x, batch):
        return jnp.where(jnp.abs(x) > 2, jnp.nan, super().simulate(x, batch))


def test_a_proposal_without_a_loss_is_not_accepted():
    losses, _ = train(Metropolis(sigma=1.0, beta=1e-6), *case(Brittle()), count=50)
    assert np.isfinite(losses).all()


needs_evosax = pytest.mark.skipif(
    importlib.util.find_spec("evosax") is None, reason="evosax is not installed"
)


@dataclasses.dataclass(frozen=True)
class Patchy(Tiny):
    """Returns NaN in one of twelve places, scattered finely; elsewhere its loss is Tiny's."""

    def simulate(self, x, batch):
        missing = jnp.sin(1e3 * x[:, :1]) > math.cos(math.pi / 12)
        return jnp.where(missing, jnp.nan, super().simulate(x, batch))


@needs_evosax
@pytest.mark.parametrize("problem", [Tiny(), Patchy()], ids=["smooth", "patchy"])
@pytest.mark.parametrize("rule", [OpenES(), CMAES()], ids=["open_es", "cma_es"])
def test_strategies_go_downhill(rule, problem):
    """A member whose loss is NaN does not invalidate the population."""
    smooth, params, batch = case(Tiny())
    _, after = train(rule, dataclasses.replace(smooth, problem=problem), params, batch, count=200)
    assert smooth.value(after, batch) < 0.5 * smooth.value(params, batch)


@needs_evosax
def test_a_population_is_counted():
    objective, params, batch = case(Tiny())
    rule = OpenES(population=7)  # made even, for pairs
    state = rule.init(objective, params, jax.random.key(0))
    _, _, info = rule.update(objective, params, state, batch, jax.random.key(1))
    assert info["n_simulate"] == 9 * len(batch), "eight members and the mean"


@needs_evosax
def test_a_large_covariance_is_refused():
    objective, params, _ = case(Tiny(size=200))
    assert CMAES().refuses(case(Tiny())[0]) is None
    reason = CMAES().refuses(objective)
    assert reason is not None
    assert "open_es" in reason
    with pytest.raises(ValueError, match="covariance of all"):
        CMAES().init(objective, params, jax.random.key(0))


def test_without_evosax_the_rule_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "physopt[evolution]" in str(OpenES().refuses(case(Tiny())[0]))
