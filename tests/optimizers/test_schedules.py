"""A cosine halves every rule's step half-way; a plateau shortens it when the loss stalls."""

import jax
import numpy as np
import optax
import pytest
from tiny import Tiny

from physopt.objective import build
from physopt.optimizers.evolution import OpenES
from physopt.optimizers.first_order import SGD
from physopt.optimizers.metropolis import Metropolis
from physopt.optimizers.sip import SIP
from physopt.optimizers.spectral import GaussNewton, HalfInverse

RULES = [
    SGD(momentum=0.0),
    SIP(optimizer="sgd"),
    HalfInverse(),
    HalfInverse(learning_rate=0.05),
    GaussNewton(adaptive=False, damping=0.1),
    Metropolis(beta=1e-12),  # accepts every change, so that there is one to measure
    OpenES(population=4),
]


def steps(rule, progress, count=1):
    """Norms of updates at the same parameters, with the same batch and key."""
    problem = Tiny()
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(0), 4)).at(progress)
    state, update, norms = rule.init(objective, params, jax.random.key(1)), jax.jit(rule.update), []
    for _ in range(count):
        updates, state, _ = update(objective, params, state, batch, jax.random.key(2))
        norms.append(float(optax.tree.norm(updates)))
    return norms


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_cosine_is_half_down_half_way(rule):
    scheduled, plain = steps(rule.replace(schedule="cosine"), 0.5), steps(rule, 0.5)
    # The means of a population are rounded to float32 before they are subtracted.
    np.testing.assert_allclose(scheduled, 0.5 * np.asarray(plain), rtol=1e-4)


@pytest.mark.parametrize(
    "rule", [HalfInverse(learning_rate=0.05), Metropolis(beta=1e-12)], ids=["hig", "metropolis"]
)
def test_a_plateau_shortens_the_steps_of_rules_without_an_optax_optimiser(rule):
    norms = steps(rule.replace(schedule="plateau", patience=3), 0.0, count=6)
    assert norms[-1] == pytest.approx(0.1 * norms[0], rel=1e-5)
