"""First-order rules: schedules follow the budget, clipping bounds, line searches are counted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny

from physopt.objective import build
from physopt.optimizers.first_order import LBFGS, SGD, Adam, AnyOptax
from physopt.options import OptionError
from physopt.rule import COUNTS


def step(rule, progress=0.0, count=1):
    """Return the last of `count` updates at fixed parameters, its info and the gradient."""
    problem = Tiny()
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(0), 4)).at(progress)
    state = rule.init(objective, params, jax.random.key(1))
    update = jax.jit(rule.update)
    updates, state, info = update(objective, params, state, batch, jax.random.key(2))
    for _ in range(count - 1):
        updates, state, info = update(objective, params, state, batch, jax.random.key(2))
    return updates, info, jax.grad(objective.value)(params, batch)


def norm(updates):
    return float(optax.tree.norm(updates))


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("constant", 0.7, 1),
        ("cosine", 0.0, 1),
        ("cosine", 0.5, 0.5),
        ("cosine", 1.0, 0),
        ("warmup_cosine", 0.05, 0.5),
        ("warmup_cosine", 0.1, 1),
        ("warmup_cosine", 0.55, 0.5),
        ("warmup_cosine", 1.0, 0),
    ],
)
def test_a_schedule_is_a_factor_that_depends_on_the_budget_spent(schedule, progress, factor):
    plain, _, _ = step(SGD())
    scheduled, _, _ = step(SGD(schedule=schedule, warmup=0.1), progress)
    # A cosine in float32, relative to its largest value.
    np.testing.assert_allclose(norm(scheduled), factor * norm(plain), atol=1e-6 * norm(plain))


def test_plateau_shrinks_the_rate_when_the_loss_stops_falling():
    rule = SGD(schedule="plateau", patience=3, momentum=0.0)
    before, after = (norm(step(rule, count=count)[0]) for count in (2, 6))
    assert after == pytest.approx(0.1 * before, rel=1e-5)


def test_clipping_bounds_the_gradient_that_is_passed_on():
    unclipped, _, gradient = step(SGD(momentum=0.0, learning_rate=1.0))
    bound = 0.25 * norm(gradient)
    clipped, _, _ = step(SGD(momentum=0.0, learning_rate=1.0, clip_norm=bound))
    assert norm(clipped) == pytest.approx(bound, rel=1e-5)
    for a, b in zip(jax.tree.leaves(clipped), jax.tree.leaves(unclipped), strict=True):
        np.testing.assert_allclose(a, 0.25 * b, rtol=1e-4, atol=1e-8)


def test_descent_without_momentum_is_the_gradient():
    updates, info, gradient = step(SGD(momentum=0.0, learning_rate=0.5))
    for a, b in zip(jax.tree.leaves(updates), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, -0.5 * b, rtol=1e-5, atol=1e-8)
    assert float(info["grad_norm"]) == pytest.approx(norm(gradient), rel=1e-5)
    assert [int(info[name]) for name in COUNTS] == [4, 4, 0, 0]


def test_a_line_search_counts_what_it_evaluates_and_lowers_the_loss():
    problem = Tiny()
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(jax.random.key(0), 4)).at(0.0)
    rule = LBFGS()
    state = rule.init(objective, params, jax.random.key(1))
    updates, _, info = jax.jit(rule.update)(objective, params, state, batch, jax.random.key(2))
    assert int(info["n_simulate"]) >= 8
    assert int(info["n_simulate"]) % 4 == 0
    after = objective.value(optax.apply_updates(params, updates), batch)
    assert float(after) < float(objective.value(params, batch))


def test_any_optimiser_of_optax_is_found_by_its_name():
    by_name, _, _ = step(AnyOptax(optimizer="adam", learning_rate=1e-3))
    by_class, _, _ = step(Adam(learning_rate=1e-3))
    for a, b in zip(jax.tree.leaves(by_name), jax.tree.leaves(by_class), strict=True):
        np.testing.assert_array_equal(a, b)
    assert jnp.isfinite(norm(step(AnyOptax(optimizer="schedule_free_sgd"))[0]))
    with pytest.raises(OptionError, match="did you mean nadam"):
        AnyOptax(optimizer="nadm")
