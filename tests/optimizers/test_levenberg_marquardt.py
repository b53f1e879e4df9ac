"""Levenberg-Marquardt: closed forms, invariances, failed trials and convergence."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from linear_model import KEY, case, iterate, random
from tiny import Tiny

import physopt
from physopt.commands.show import show_run
from physopt.numerics.damped_least_squares import factorised
from physopt.objective import build
from physopt.optimizers.spectral import levenberg_marquardt
from physopt.optimizers.spectral.levenberg_marquardt import FAILURES, LevenbergMarquardt
from physopt.rule import PlanError
from physopt.training.per_sample import PerSample, build_unknowns

UNDAMPED = LevenbergMarquardt(damping=1e-20, radius=None)


@pytest.fixture
def wide():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("function", ["linear", "reverse_only"])
def test_a_linear_least_squares_problem_is_solved_in_one_update(function):
    """In forward mode, which needs P = 3 products, and in reverse mode, which needs n = 7."""
    matrix, target = random(7, 3) * [1e-4, 1, 1e4], random(7)
    x, _, infos = iterate(UNDAMPED, *case(matrix, target, np.zeros(3), function), 1)
    expected = np.linalg.lstsq(matrix, target, rcond=None)[0]
    np.testing.assert_allclose(x[1], expected, rtol=1e-10)
    assert int(infos[0]["n_vjp"]) == (3 if function == "linear" else 7)
    np.testing.assert_allclose(infos[0]["gain"], 1, rtol=1e-10)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
@pytest.mark.parametrize("solver", ["qr", "gram"])
def test_solvers_match_the_normal_equations(shape, solver):
    a, r = random(*shape), random(shape[0])
    solve, _ = factorised(jnp.asarray(a), jnp.asarray(r), solver)
    for damping in (1e-6, 1e-2, 10.0):
        expected = np.linalg.solve(a.T @ a + damping * np.eye(shape[1]), a.T @ r)
        np.testing.assert_allclose(solve(jnp.asarray(damping)), expected, rtol=1e-7)


@pytest.mark.usefixtures("wide")
def test_qr_resolves_what_a_gram_matrix_does_not():
    """cond(J) = 1e9: the Gram matrix has the condition 1e18."""
    left, right = np.linalg.qr(random(8, 3))[0], np.linalg.qr(random(3, 3))[0]
    matrix, solution = left @ np.diag([1, 1e-3, 1e-9]) @ right, np.array([1.0, -2.0, 3.0])
    solve, _ = factorised(jnp.asarray(matrix), jnp.asarray(matrix @ solution), "qr")
    np.testing.assert_allclose(solve(jnp.asarray(1e-31)), solution, rtol=1e-5)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("solver", ["qr", "gram"])
@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_units_of_the_parameters_do_not_matter(solver, shape):
    """Powers of 2 change no rounding: the iterates are equal to the last bit."""
    matrix, target, start = random(*shape), random(shape[0]) / 2, random(shape[1])
    unit = 2.0 ** np.resize([-20, 3, 40], shape[1])
    rule = LevenbergMarquardt(solver=solver, scaling="columns")
    one, _, _ = iterate(rule, *case(matrix, target, start, "sine"), 6)
    other, _, _ = iterate(rule, *case(matrix * unit, target, start / unit, "sine"), 6)
    assert np.any(one[5] != one[0])
    np.testing.assert_array_equal(one, other * unit)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("solver", ["qr", "gram"])
def test_a_rank_deficient_jacobian(solver):
    """Equal columns get equal steps, a column of zeros none, and the loss reaches its minimum."""
    column, target = random(5, 1), random(5)
    matrix = np.concatenate([column, column, 0 * column], axis=1)
    rule = LevenbergMarquardt(solver=solver)
    objective, params, batch = case(matrix, target, [0.0, 0.0, 7.0])
    x, _, infos = iterate(rule, objective, params, batch, 4)
    best = np.linalg.lstsq(column, target, rcond=None)[0][0] / 2
    np.testing.assert_allclose(x[-1], [best, best, 7], rtol=1e-6)
    assert all(np.isfinite(value) for info in infos for value in info.values())


@pytest.mark.usefixtures("wide")
def test_a_step_at_which_the_physics_fails_is_not_taken():
    """sqrt(1 - x) = 0.1 from x = -15: the full step is to x = 16, where the root is NaN."""
    objective, params, batch = case([[1.0]], [0.1], [-15.0], "root")
    rule = LevenbergMarquardt(damping=1e-6)
    x, _, infos = iterate(rule, objective, params, batch, 12)
    assert infos[0]["trials"] > 1
    assert infos[0]["accepted"] == 1
    losses = [float(info["loss"]) for info in infos]
    assert all(np.diff(losses) <= 0)
    np.testing.assert_allclose(x[-1], [0.99], rtol=1e-8)


@pytest.mark.usefixtures("wide")
def test_an_update_makes_several_trials_with_one_jacobian():
    objective, params, batch = case([[1.0]], [0.1], [-15.0], "root")
    rule = LevenbergMarquardt(damping=1e-6, trials=3)
    x, state, infos = iterate(rule, objective, params, batch, 1)
    assert infos[0]["accepted"] == 0
    assert int(infos[0]["n_simulate"]) == 4
    np.testing.assert_allclose(state.damping, 1e-6 * 2 * 4 * 8, rtol=1e-12)
    np.testing.assert_array_equal(x[1], x[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_rule_that_finds_no_lower_loss_has_converged(dtype):
    with jax.enable_x64(dtype == np.float64):
        matrix, target = random(7, 3).astype(dtype), random(7).astype(dtype)
        arguments = case(matrix, target, np.ones(3, dtype), "sine")
        rule = LevenbergMarquardt()
        _, state, infos = iterate(rule, *arguments, 60)
        assert rule.converged(state)
        taken = np.flatnonzero([info["accepted"] for info in infos])
        assert taken[-1] < 60 - FAILURES
        gradients = [float(info["grad_norm"]) for info in infos]
        assert gradients[-1] < 100 * np.sqrt(jnp.finfo(dtype).eps) * gradients[0]
        assert state.damping < 1, "rejected steps below rounding leave the damping as it was"


def test_a_converged_run_ends_and_says_why(tmp_path, capsys):
    run = physopt.run(
        Tiny(), LevenbergMarquardt(), network="none", batch_size=3, steps=300, log_every=100,
        out=tmp_path,
    )  # fmt: skip
    assert run.status["status"] == "converged"
    assert run.curve.error.iloc[-1] < 1e-5
    assert run.status["remark"] == f"6 of 6 samples: no step accepted for {FAILURES} updates"
    assert show_run(run.folder) == 0
    assert run.status["remark"] in capsys.readouterr().out


def test_copies_of_the_samples_change_no_step():
    """The step belongs to the mean loss: it does not depend on the size of the batch."""
    problem, rule = Tiny(), LevenbergMarquardt()
    objective, params = build(problem, "default", 0)
    batch = problem.sample(jax.random.split(KEY, 2)).at(0.0)
    twice = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), batch)
    update = partial(jax.jit(rule.update), objective, params, rule.init(objective, params, KEY))
    one, two = (update(samples, KEY)[0] for samples in (batch, twice))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-6)


def test_gram_works_sample_by_sample_in_float32():
    """The Gram matrix is in float64, inside a loop that vmap transforms."""
    problem = Tiny()
    batch = problem.sample(jax.random.split(KEY, 4)).at(0.0)
    objective, params = build_unknowns(problem, jnp.ones_like(batch.target))
    steps = []
    for solver in ("qr", "gram"):
        rule = PerSample(LevenbergMarquardt(solver=solver))
        state = rule.init(objective, params, KEY)
        steps.append(jax.tree.leaves(rule.update(objective, params, state, batch, KEY)[0])[0])
    assert steps[0].dtype == np.float32
    np.testing.assert_allclose(*steps, rtol=1e-4)
    np.testing.assert_allclose(1 + steps[0], batch.target / problem.scales(jnp.float32), rtol=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_give_the_step_of_the_jacobian(dtype):
    """24 outputs, 59 parameters; the second update starts from the scale of the first."""
    with jax.enable_x64(dtype == np.float64):
        objective, params = build(Tiny(), "default", 0)
        batch = Tiny().sample(jax.random.split(KEY, 8)).at(0.0)
        params, batch = jax.tree.map(lambda leaf: leaf.astype(dtype), (params, batch))
        ends = []
        for solver in ("layers", "gram"):
            rule = LevenbergMarquardt(solver=solver)
            update, state, each = jax.jit(rule.update), rule.init(objective, params, KEY), params
            info = {}
            for _ in range(2):
                step, state, info = update(objective, each, state, batch, KEY)
                each = optax.apply_updates(each, step)
            ends.append((each, state, info))
        tolerance = 1e-10 if dtype == np.float64 else 2e-3
        for one, two in zip(*map(jax.tree.leaves, ends), strict=True):
            np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance * 1e-2)
        rule = LevenbergMarquardt(solver="layers")
        assert "J J^T [24, 24], layer by layer" in rule.plan(objective, params, batch)
    with pytest.raises(ValueError, match="layers knows no columns"):
        rule.replace(scaling="columns")


def test_the_plan_describes_the_jacobian_and_refuses_one_that_is_too_large(monkeypatch):
    objective, params, batch = case(random(7, 3), random(7), random(3))
    rule = LevenbergMarquardt()
    assert rule.plan(objective, params, batch) == (
        "qr of J [7, 3], which is computed by columns, in forward mode"
    )
    monkeypatch.setattr(levenberg_marquardt, "memory_limit", lambda: 100.0)
    with pytest.raises(PlanError, match="smaller batch_size"):
        rule.plan(objective, params, batch)


def test_batch_normalisation_is_refused():
    objective, _ = build(Tiny(normalization="batch"), "default", 0)
    assert "group" in str(LevenbergMarquardt().refuses(objective))
