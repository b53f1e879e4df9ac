"""Proxy: the fit, its descent over ripples, and what it costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from physopt.optimizers.first_order import LBFGS
from physopt.optimizers.proxy import Proxy, _once, _proxy
from physopt.problem import Batch, Problem
from physopt.training.per_sample import PerSample, build_unknowns

SAMPLES = 16


@dataclasses.dataclass(frozen=True)
class Rippled(Problem):
    """L = (x - c)^2 / 2 + (1 - cos 12 (x - c)) / 5: a minimum at every ripple, the lowest at c."""

    def sample(self, keys):
        c = jax.vmap(lambda key: jax.random.uniform(key, (1,), minval=-1.5, maxval=1.5))(keys)
        return Batch(c, c)

    def simulate(self, x, batch):
        return x

    def loss(self, y, batch):
        distance = (y - batch.target)[:, 0]
        return distance**2 / 2 + (1 - jnp.cos(12 * distance)) / 5


def errors(rule, updates):
    """Return |x - c| after updates from x = 0, and the simulations of each update."""
    problem = Rippled()
    batch = problem.sample(jax.random.split(jax.random.key(0), SAMPLES)).at(0.0)
    objective, params = build_unknowns(problem, jnp.zeros((SAMPLES, 1)))
    every, key, counts = PerSample(rule), jax.random.key(1), []
    state, update = every.init(objective, params, key), jax.jit(every.update)
    for step in range(updates):
        change, state, info = update(objective, params, state, batch, jax.random.fold_in(key, step))
        params = optax.apply_updates(params, change)
        counts.append((int(info["n_simulate"]), float(info["loss"])))
    x = objective.predict(params, batch.inputs)
    return np.abs(np.asarray(x - batch.target))[:, 0], counts, batch


def test_it_crosses_ripples_that_stop_a_line_search():
    local, _, _ = errors(LBFGS(), 12)
    smoothed, counts, batch = errors(Proxy(samples=48, radius=1.5), 12)
    # A ripple is 2 pi / 12 = 0.52 wide, so that a start within 0.26 of c is in the right one.
    assert np.mean(local < 0.05) <= 0.5
    assert np.mean(smoothed < 0.05) >= 0.75
    problem = Rippled()
    assert counts[0][1] == pytest.approx(
        float(jnp.mean(problem.loss(jnp.zeros((SAMPLES, 1)), batch))), rel=1e-5
    ), "the loss before the update"
    first, later = counts[0][0], [count for count, _ in counts[1:]]
    assert first >= SAMPLES * (48 + 2 + 1)
    assert max(later) <= SAMPLES * 22, "one gradient and a line search"


def test_the_fit_is_the_loss_where_that_is_smooth():
    rule = Proxy(flatness=0.0, emphasis=0.0)
    points = jax.random.normal(jax.random.key(0), (64, 2))
    losses = 3 + jnp.sum((points - 0.5) ** 2, axis=1)
    weights = jax.jit(rule._fit)(points, losses, jax.random.key(1))
    f = jax.vmap(lambda z: _proxy(weights, z))(points)
    standardised = (losses - losses.mean()) / losses.std()
    assert float(jnp.sqrt(jnp.mean((f - standardised) ** 2))) < 0.05


def test_flatness_lowers_the_slope_of_the_proxy():
    points = jax.random.normal(jax.random.key(0), (64, 1))
    losses = jnp.sin(6 * points[:, 0])
    slopes = []
    for flatness in (0.0, 0.1):
        weights = jax.jit(Proxy(flatness=flatness)._fit)(points, losses, jax.random.key(1))
        slope = jax.vmap(jax.grad(lambda z, w=weights: _proxy(w, z)))(points)
        slopes.append(float(jnp.mean(slope**2)))
    assert slopes[1] < slopes[0] / 3


def test_what_is_done_once_is_done_only_in_lanes_that_are_first():
    first = jnp.asarray([True, False, True])
    values = jnp.asarray([1.0, 2.0, 3.0])
    done = jax.vmap(lambda f, v: _once(f, lambda v: 10 * v, v))(first, values)
    np.testing.assert_array_equal(done, [10, 2, 30])
