"""Least-squares rules on the nonlinear regression sets of NIST StRD, beside MINPACK's."""

from typing import Any

import jax
import numpy as np
import optax
import pytest
from nist import MODELS, SETS, Regression, digits, observed, padded
from scipy.optimize import least_squares

from physopt.optimizers.spectral import GaussNewton, LevenbergMarquardt
from physopt.rule import UpdateRule
from physopt.training.per_sample import build_unknowns

UPDATES = 1000
DIGITS = 4.0


def solve(model: str, rule: UpdateRule):
    """Return {name: (parameters [start, P], updates [start])} where the rule has converged.

    Data sets with one model share a program.
    """
    problem, key = Regression(model), jax.random.key(0)
    names = [name for name in MODELS if MODELS[name] is MODELS[model]]
    size = max(len(SETS[name]["y"]) for name in names)

    def body(carry):
        objective, params, state, batch, count = carry
        updates, state, _ = rule.update(objective, params, state, batch, key)
        return objective, optax.apply_updates(params, updates), state, batch, count + 1

    def unfinished(carry):
        return ~rule.converged(carry[2]) & (carry[4] < UPDATES)

    run = jax.jit(lambda carry: jax.lax.while_loop(unfinished, body, carry))

    def one(name, start):
        batch = padded(name, start, size)
        objective, params = build_unknowns(problem, batch.inputs)
        _, params, _, _, count = run(
            (objective, params, rule.init(objective, params, key), batch, 0)
        )
        return np.asarray(jax.tree.leaves(params)[0][0]), int(count)

    ends = {name: zip(*(one(name, start) for start in range(2)), strict=True) for name in names}
    return {name: tuple(map(np.array, end)) for name, end in ends.items()}


def reference(name):
    """Return the parameters [start, P] of MINPACK's Levenberg-Marquardt with exact derivatives."""
    x, y, starts, _ = observed(name)

    def residual(b):
        value = MODELS[name](b, x, np) - y
        return np.where(np.isfinite(value), value, 1e100)

    def derivative(b):  # by complex steps
        steps = b + 1e-100j * np.eye(len(b))
        columns = np.stack([MODELS[name](step, x, np).imag / 1e-100 for step in steps], axis=1)
        return np.where(np.isfinite(columns), columns, 0)

    options: dict[str, Any] = {"jac": derivative, "method": "lm", "x_scale": "jac"}
    tolerances = dict.fromkeys(("ftol", "xtol", "gtol"), 1e-14)
    with np.errstate(all="ignore"):
        return np.array([
            least_squares(residual, start, max_nfev=20_000, **options, **tolerances).x
            for start in starts
        ])  # fmt: skip


@pytest.mark.parametrize("rule", [LevenbergMarquardt(), GaussNewton()])
def test_nist_data_sets(rule):
    """With default options, from both starts."""
    assert set(MODELS) == set(SETS)
    models = {model: name for name, model in reversed(MODELS.items())}
    with jax.enable_x64(True):
        solved = {k: v for name in models.values() for k, v in solve(name, rule).items()}
    ours = {name: digits(name, solved[name][0]) for name in MODELS}
    minpack = {name: digits(name, reference(name)) for name in MODELS}
    certified, of_minpack = (
        sum(np.sum(value >= DIGITS) for value in each.values()) for each in (ours, minpack)
    )
    failed = {name: value for name, value in ours.items() if np.any(value < DIGITS)}
    assert certified >= 50, failed
    assert certified >= of_minpack - 1, (of_minpack, failed)
    unfinished = [name for name, (_, updates) in solved.items() if np.any(updates == UPDATES)]
    assert len(unfinished) <= 1, "a run that has nothing left to gain ends as converged"


def test_misra1a_by_gram_matrices():
    """An option asks for the body for networks, which drops one of two directions and says so."""
    rule, key, info = GaussNewton(method="columns"), jax.random.key(0), {}
    with jax.enable_x64(True):
        batch = padded("Misra1a", 0, len(SETS["Misra1a"]["y"]))
        objective, params = build_unknowns(Regression("Misra1a"), batch.inputs)
        update, state = jax.jit(rule.update), rule.init(objective, params, key)
        for _ in range(200):
            step, state, info = update(objective, params, state, batch, key)
            params = optax.apply_updates(params, step)
            if rule.converged(state):
                break
        assert rule.converged(state)
    remark = rule.remark(state, {name: float(info[name]) for name in ("rank", "dropped")})
    assert remark == "no step accepted for 35 updates; 1 of 2 directions below the noise or cutoff"
