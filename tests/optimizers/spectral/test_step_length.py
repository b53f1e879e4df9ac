"""Steps without a learning rate: closed form, units, and options that were tuned by hand."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny

from physopt.config.registry import find
from physopt.objective import build
from physopt.optimizers.spectral import HalfInverse
from physopt.optimizers.spectral.step_length import (
    FIRST_DAMPING,
    LEAST_DAMPING,
    LONGEST,
    RATE,
    SHORTEST,
    adapted_damping,
    adapted_length,
    best_multiple,
    halved,
    shortened,
)
from physopt.training.data import training_source
from physopt.training.loop import initial_carry, make_updates
from physopt.training.per_sample import build_unknowns

KEY = jax.random.key(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("multiple", [0.7, 0.9, 1.0, 1.6, 40.0])
@pytest.mark.parametrize("factor", [1.0, 0.6])
def test_a_quadratic_loss_moves_the_length_to_its_minimum(multiple, factor):
    """L(a) along d has its minimum at a*: the last step of length 1 should have been a*."""
    batch = Tiny().sample(jax.random.split(KEY, 4)).at(0.0)
    objective, x = build_unknowns(Tiny(), jnp.asarray(batch.target, float))
    scales = np.asarray(Tiny().scales(jnp.dtype(float)))
    # From x with y = 0 the direction y* / s solves the problem at a = 1.
    solution = jax.tree.map(lambda leaf: jnp.asarray(batch.target / scales).reshape(leaf.shape), x)
    last = optax.tree.scale(1 / multiple, solution)  # now at a = 1 / multiple of the way
    system = objective.linearised(last, batch)
    t = best_multiple(
        objective, system, system.pull(system.gradient), batch, last, jnp.asarray(factor)
    )
    length = adapted_length(jnp.asarray(0.1), t)
    expected = 0.1 * np.clip(factor * multiple, SHORTEST, LONGEST) ** RATE
    np.testing.assert_allclose(length, expected, rtol=1e-9)


def test_a_length_is_halved_until_the_loss_falls():
    share, tried = halved(lambda a: 1 + a * (a - 0.3), jnp.asarray(1.0))
    assert (share, tried) == (0.25, 3)
    share, tried = halved(lambda a: jnp.where(a > 0.2, jnp.nan, 0.5), jnp.asarray(1.0))
    assert (share, tried) == (0.125, 4)
    assert halved(lambda a: 1 + a, jnp.asarray(1.0))[0] == 0
    assert halved(lambda a: 1 + 1e-9 * a, jnp.asarray(1.0, jnp.float32))[0] == 1, "rounding"


def test_a_step_out_of_range_raises_the_damping():
    batch = Tiny().sample(jax.random.split(KEY, 4)).at(0.0)
    objective, x = build_unknowns(Tiny(), batch.target)
    system, one = objective.linearised(x, batch), jnp.ones(())
    for value, multiple in ((0.0, 1.0), (np.nan, SHORTEST)):
        step = jax.tree.map(lambda leaf, v=value: jnp.full_like(leaf, v), x)
        assert (
            best_multiple(objective, system, system.pull(system.gradient), batch, step, one)
            == multiple
        )
    length, damping = shortened(jnp.asarray(0.8), jnp.asarray(0.1), jnp.asarray(0.0))
    np.testing.assert_allclose([length, damping], [0.2, 0.2], rtol=1e-6)
    length, damping = shortened(jnp.asarray(0.8), jnp.asarray(0.1), jnp.asarray(1.0))
    np.testing.assert_allclose([length, damping], [0.8, 0.1], rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Noisy(Tiny):
    """Targets with noise of their own, relative to the largest response, in each sample."""

    noise: float = 0.0

    def sample(self, keys):
        batch = super().sample(keys)
        noise = jax.vmap(lambda key: jax.random.normal(key, batch.target.shape[1:]))(keys)
        return dataclasses.replace(batch, target=batch.target + self.noise * noise)


@pytest.mark.usefixtures("x64")
def test_the_damping_follows_what_the_next_batch_likes():
    """Weak directions carry signal without noise: the damping falls. With it they carry noise."""
    clean, _ = trained(Noisy(), HalfInverse(), 40)
    noisy, _ = trained(Noisy(noise=3.0), HalfInverse(), 40)
    assert LEAST_DAMPING <= clean.state.damping < FIRST_DAMPING / 2
    assert noisy.state.damping > 3 * clean.state.damping
    np.testing.assert_allclose(adapted_damping(jnp.asarray(0.1), jnp.asarray(0.5)), 0.1 * 2**RATE)


@dataclasses.dataclass(frozen=True)
class Loud(Tiny):
    """The same physics in another unit of y, a power of two: rounding is the same."""

    def sample(self, keys):
        batch = super().sample(keys)
        return dataclasses.replace(batch, target=1024 * batch.target)

    def simulate(self, x, batch):
        return 1024 * super().simulate(x, batch)


def trained(problem, rule, steps, batch=8):
    """Return the carry after some updates on new batches, and the loss of 64 other samples."""
    objective, params = build(problem, "default", 0)
    source = training_source(problem, 0, batch, None)
    carry = initial_carry(rule, objective, params, source, KEY)
    updates = jax.jit(partial(make_updates, rule))
    carry = updates(objective, carry, source, KEY, (1 / steps, 0.0), steps)
    others = problem.sample(jax.random.split(jax.random.key(9), 64)).at(1.0)
    return carry, float(objective.value(carry.params, others))


@pytest.mark.usefixtures("x64")
def test_the_unit_of_the_observations_does_not_matter():
    quiet, loss = trained(Tiny(), HalfInverse(), 30)
    loud, loud_loss = trained(Loud(), HalfInverse(), 30)
    np.testing.assert_allclose(loud_loss, 2.0**20 * loss, rtol=1e-5)
    np.testing.assert_allclose(loud.state.pace.length, quiet.state.pace.length, rtol=1e-6)


TUNED = {
    "oscillators": HalfInverse(learning_rate=0.05),
    "quantum": HalfInverse(learning_rate=0.6, tau=1.5e-4),
}
"""Options that were tuned for a problem by its name."""


@pytest.mark.parametrize("name", TUNED)
def test_the_default_is_within_half_of_tuned_options(name):
    """At equal numbers of updates; a problem of another name gets the default."""
    cls = find("problem", name)
    problem = cls(**cls.tiny)
    _, tuned = trained(problem, TUNED[name], 60)
    _, default = trained(problem, HalfInverse(), 60)
    assert default < 1.5 * tuned
