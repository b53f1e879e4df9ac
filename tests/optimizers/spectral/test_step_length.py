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
from physopt.optimizers.spectral.step_length import RATE, Pace, adapted_length, halved
from physopt.training.data import training_source
from physopt.training.loop import initial_carry, make_updates
from physopt.training.per_sample import build_unknowns

KEY = jax.random.key(0)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("multiple", [0.7, 1.0, 1.6, 40.0])
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
    pace = Pace(jnp.asarray(0.1), last)
    length = adapted_length(objective, system, batch, pace, jnp.asarray(factor))
    expected = 0.1 * np.clip(factor * multiple, 0.5, 2) ** RATE
    np.testing.assert_allclose(length, expected, rtol=1e-9)


def test_a_length_is_halved_until_the_loss_falls():
    share, tried = halved(lambda a: 1 + a * (a - 0.3), jnp.asarray(1.0))
    assert (share, tried) == (0.25, 3)
    share, tried = halved(lambda a: jnp.where(a > 0.2, jnp.nan, 0.5), jnp.asarray(1.0))
    assert (share, tried) == (0.125, 4)
    assert halved(lambda a: 1 + a, jnp.asarray(1.0))[0] == 0


@dataclasses.dataclass(frozen=True)
class Loud(Tiny):
    """The same physics in another unit of y."""

    def sample(self, keys):
        batch = super().sample(keys)
        return dataclasses.replace(batch, target=1000 * batch.target)

    def simulate(self, x, batch):
        return 1000 * super().simulate(x, batch)


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
    np.testing.assert_allclose(loud_loss, 1e6 * loss, rtol=1e-5)
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
