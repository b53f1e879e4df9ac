"""Line searches of the spectral family, and the energy natural gradient."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from tiny import Tiny

from physopt import Batch, Problem
from physopt.networks import Dense
from physopt.objective import build, flatten
from physopt.optimizers.spectral import EnergyNaturalGradient, GaussNewton, HalfInverse
from physopt.optimizers.spectral.diagnostics import remark
from physopt.optimizers.spectral.line_search import LENGTHS, searched, step_lengths
from physopt.optimizers.spectral.rule import ZERO_STEPS
from physopt.options import OptionError
from physopt.training.per_sample import build_unknowns

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def update():
    return jax.jit(EnergyNaturalGradient().update)


@dataclasses.dataclass(frozen=True)
class Curve(Problem):
    """Fit of sin(3 t) by a network of one input, whose J has many tiny singular values."""

    def sample(self, keys):
        t = jnp.linspace(-1, 1, len(keys), dtype=float)[:, None]
        return Batch(t, jnp.sin(3 * t))

    def network(self, rngs):
        return Dense((1, 16, 1), rngs, activation="tanh")

    def simulate(self, x, batch):
        return x


def network():
    """Return a network with 49 parameters and 80 outputs."""
    objective, params = build(Curve(), "default", 0)
    params = jax.tree.map(lambda leaf: leaf.astype(float), params)
    return objective, params, Curve().sample(jax.random.split(KEY, 80)).at(0.0)


def test_engd_is_least_squares_on_the_gram_matrix_with_the_best_length(update):
    """NumPy's default cutoff, P eps of the largest eigenvalue, is sqrt(P eps) for J."""
    rule = EnergyNaturalGradient()
    objective, params, batch = network()
    state = rule.init(objective, params, KEY)
    step, _, info = update(objective, params, state, batch, KEY)
    system = objective.linearised(params, batch)
    j, residual = np.asarray(system.rows()), len(batch) * np.asarray(system.gradient)
    full = -np.linalg.lstsq(j.T @ j, j.T @ residual, rcond=None)[0]
    assert info["rank"] < len(full), "the cutoff matters"
    assert info["rank"] + info["dropped"] == len(full)
    flat, unravel = ravel_pytree(params)
    error = ravel_pytree(step)[0] / info["step_size"] - full
    assert np.linalg.norm(error) < 1e-3 * np.linalg.norm(full)
    # The best of the 32 lengths
    loss_at = jax.jit(lambda a: objective.value(unravel(flat + a * full), batch))
    lengths = 2.0 ** -np.arange(32)
    assert info["step_size"] == lengths[np.argmin([loss_at(a) for a in lengths])]
    assert int(info["n_simulate"]) == (2 + LENGTHS) * len(batch)


def test_zero_steps_end_a_run_and_leave_the_parameters(update):
    """A linear problem is solved in one step, after which nothing lowers the loss."""
    rule = EnergyNaturalGradient()
    batch = Tiny().sample(jax.random.split(KEY, 1)).at(0.0)
    objective, params = build_unknowns(Tiny(), jnp.ones_like(batch.target))
    state, lengths = rule.init(objective, params, KEY), []
    while not rule.converged(state):
        before = params
        step, state, info = update(objective, params, state, batch, KEY)
        params = optax.apply_updates(params, step)
        lengths.append(float(info["step_size"]))
        if lengths[-1] == 0:
            jax.tree.map(np.testing.assert_array_equal, before, params)
    assert lengths[0] == 1
    assert lengths[-ZERO_STEPS:] == [0.0] * ZERO_STEPS
    assert len(lengths) < 60
    y = flatten(objective.outputs(params, batch))
    np.testing.assert_allclose(y, batch.target, rtol=1e-12)


def losses_of(curve):
    lengths = step_lengths(-1.0, jnp.float64)
    return lengths, np.asarray([curve(a) for a in lengths])


@pytest.mark.parametrize("best", [0.9, 0.06, 1e-4])
def test_the_grid_takes_the_lowest_and_armijo_the_first_sufficient_decrease(best):
    """L(a) = 1 - 2 s a + s a^2 / best has the slope -2 s and its minimum at `best`."""

    def curve(a):
        return 1 - 2e-3 * a + 1e-3 * a**2 / best

    loss, slope = jnp.asarray(1.0), jnp.asarray(-2e-3)
    lengths, losses = losses_of(curve)
    chosen, tried = searched("grid", curve, lengths, loss, slope)
    assert chosen == lengths[np.argmin(losses)]
    assert tried == LENGTHS
    chosen, tried = searched("armijo", curve, lengths, loss, slope)
    sufficient = np.flatnonzero(losses <= 1 - 1e-4 * 2e-3 * lengths)
    assert chosen == lengths[sufficient[0]]
    assert tried == sufficient[0] + 1


@pytest.mark.parametrize("kind", ["grid", "armijo"])
@pytest.mark.parametrize("value", [1.0, 2.0, np.inf])
def test_no_step_where_nothing_lowers_the_loss(kind, value):
    lengths = step_lengths(-1.0, jnp.float64)
    loss, slope = jnp.asarray(1.0), jnp.asarray(-1e-30)
    chosen, tried = searched(kind, lambda a: value + 0 * a, lengths, loss, slope)
    assert chosen == 0
    assert tried == LENGTHS


def test_the_end_of_a_run_says_what_was_dropped():
    assert remark(0, {"rank": 2.0, "dropped": 0.0}) is None
    assert remark(0, {"rank": np.nan, "dropped": np.nan}) is None
    text = "no step accepted for 90 updates; 1 of 2 directions below the noise or cutoff"
    assert remark(90, {"rank": 1.0, "dropped": 1.0}) == text


def test_a_step_of_another_power_may_be_longer():
    assert step_lengths(-1.0, jnp.float64)[0] == 1
    assert step_lengths(-0.5, jnp.float64)[0] == 16
    objective, params, batch = network()
    rule = HalfInverse(line_search="armijo")
    update, state, losses = jax.jit(rule.update), rule.init(objective, params, KEY), []
    for _ in range(20):
        step, state, info = update(objective, params, state, batch, KEY)
        params = optax.apply_updates(params, step)
        losses.append(float(info["loss"]))
    assert all(np.diff(losses) < 0)
    assert losses[-1] < 1e-2 * losses[0]


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        (HalfInverse, {"line_search": "grid", "momentum": 0.9}),
        (GaussNewton, {"line_search": "grid"}),
    ],
)
def test_only_one_thing_judges_a_step(rule, options):
    with pytest.raises(OptionError, match="judges single steps"):
        rule(**options)


def test_the_cutoff_follows_the_precision_where_there_is_a_line_search():
    objective, params, batch = network()
    narrow = jax.tree.map(lambda leaf: leaf.astype(np.float32), params)
    same = dataclasses.replace(objective, same_batch=True)
    np.testing.assert_allclose(HalfInverse().cutoff(same, params), (49 * 2.0**-52) ** 0.5)
    assert HalfInverse().cutoff(objective, params) == 1e-5
    assert HalfInverse(learning_rate=0.1).cutoff(same, params) == 1e-5
    assert GaussNewton(adaptive=False).cutoff(objective, params) == 1e-5
    searching = GaussNewton(adaptive=False, line_search="grid")
    np.testing.assert_allclose(searching.cutoff(objective, params), (49 * 2.0**-52) ** 0.5)
    np.testing.assert_allclose(searching.cutoff(objective, narrow), (49 * 2.0**-23) ** 0.5)
    assert searching.replace(tau=1e-3).cutoff(objective, params) == 1e-3
    assert "Warning" not in searching.plan(objective, params, batch)
