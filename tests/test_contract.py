"""The contract of every problem and rule in the registries, new entries included."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import Tiny

from physopt.checking import check
from physopt.config.registry import find, name_of
from physopt.objective import build
from physopt.optimizers import RULES
from physopt.problem import Problem
from physopt.problems import PROBLEMS
from physopt.rule import COUNTS, PlanError, UpdateRule
from physopt.training.data import training_source
from physopt.training.loop import (
    Budget,
    Clock,
    compile_program,
    initial_carry,
    make_updates,
    train,
)

BATCH = 4
FAMILY = "physopt.optimizers.first_order"
# One rule that takes the gradient, one each that needs an inverse solver and a Jacobian.
REPRESENTATIVES = ("adam", "sip", "hig")
EVERYDAY = ("poisson8", "oscillators", "exp")
# The first four run the code of `ldft2d` or a loop like it, and take longer; `springs_tensor` has
# no physics; the others are solvers and time loops, whose derivatives take long to compile.
SLOW = (
    *("ldft3d", "ldft_hysteresis", "ldft_temperature", "ldft_mixture", "springs_tensor"),
    *("assembly", "assembly_fit"),
    *("billiards", "kuramoto_sivashinsky", "forced_burgers", "navier_stokes", "pressure_guess"),
<<<<<<< HEAD
    *("fluid_control", "smoke_bucket", "wake"),
=======
    *("fluid_control", "fluid_control_supervised", "smoke_bucket"),
>>>>>>> main
)
# It trains its model of the loss first.
SLOW_RULES = ("proxy",)
# `pinn_poisson` stands for the physics-informed problems, which share all code but the residuals,
# and `burgers_supervised` for supervised training of control.
SIMILAR = (
    *(name for name in PROBLEMS if name.startswith("pinn_") and name != "pinn_poisson"),
    "fluid_control_supervised",
)


def shapes(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def tiny_problem(name):
    cls = find("problem", name)
    return cls(**cls.tiny)


def pairs():
    """Every problem with every rule; of the optax family adam alone stands for all.

    Compilation takes nearly all of the time. With every change a representative of each family of
    rules meets all problems, and all rules the everyday problems: these pairs are traced, and a
    sixth of the everyday ones is compiled, in a diagonal pattern. The tests of promises compile
    each rule and most problems as well. The nightly run compiles the rest.
    """
    rules = [
        name
        for name in RULES
        if name == "adam" or not find("rule", name).__module__.startswith(FAMILY)
    ]
    for row, problem in enumerate(PROBLEMS):
        for column, rule in enumerate(rules):
            everyday = problem in EVERYDAY
            daily = everyday or (rule in REPRESENTATIVES and problem not in SLOW + SIMILAR)
            compiled = everyday and (row + column) % 6 == 0
            if daily:
                yield pytest.param(problem, rule, compiled)
            if not compiled:
                yield pytest.param(problem, rule, True, marks=pytest.mark.nightly)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.nightly) if n in ("ldft2d", *SLOW, *SIMILAR) else n
        for n in PROBLEMS
    ],
)
def test_a_problem_keeps_its_promises(name):
    problem = tiny_problem(name)
    assert name_of("problem", type(problem)) == name
    broken = [f"{f.claim}: {f.detail}" for f in check(problem) if not f.passed]
    assert not broken


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.nightly) if n in SLOW_RULES else n for n in RULES],
)
def test_a_rule_keeps_its_promises(name):
    rule = find("rule", name)()
    assert name_of("rule", type(rule)) == name
    broken = [f"{f.claim}: {f.detail}" for f in check(rule) if not f.passed]
    assert not broken


@pytest.mark.parametrize(
    ("kind", "name"), [*(("problem", n) for n in PROBLEMS), *(("rule", n) for n in RULES)]
)
def test_options_are_explained(kind, name):
    cls = find(kind, name)
    assert issubclass(cls, Problem if kind == "problem" else UpdateRule)
    explanation = cls.__doc__ or ""
    assert len(explanation.split()) > 5
    assert "Source" in explanation or name == "optax"
    options = {field.name for field in dataclasses.fields(cls)}
    assert set(getattr(cls, "tunable", {})) <= options
    json.dumps(cls().as_dict(), allow_nan=False)


@pytest.mark.parametrize(("problem_name", "rule_name", "compiled"), list(pairs()))
def test_every_pair_trains(problem_name, rule_name, compiled):
    problem, rule = tiny_problem(problem_name), find("rule", rule_name)()
    objective, params = build(problem, "default", 0)
    if reason := rule.refuses(objective):
        assert len(reason.split()) > 2, "a refusal says why"
        pytest.skip(f"{rule_name} refuses {problem_name}: {reason}")
    source, key = training_source(problem, 0, BATCH, None), jax.random.key(0)
    try:
        rule.plan(objective, params, source.draw(jnp.int32(0)).at(0.0))
    except PlanError as error:
        pytest.skip(f"{rule_name} has no way to update {problem_name}: {error}")
    traced = []

    class Counting(type(rule)):
        def update(self, *arguments):
            traced.append(1)
            return super().update(*arguments)

    counting = Counting(**rule.as_dict())
    if not compiled:
        carry = jax.eval_shape(partial(initial_carry, counting), objective, params, source, key)
        pace, length = (jnp.float32(0), jnp.float32(0)), jnp.int32(1)
        updates = partial(make_updates, counting)
        after = jax.eval_shape(updates, objective, carry, source, key, pace, length)
        assert shapes(after) == shapes(carry)
        assert set(COUNTS) & set(carry.sums)
        return
    carry = initial_carry(counting, objective, params, source, key)
    before = shapes(carry)
    program = compile_program(counting, objective, carry, source, key)
    pieces = list(train(program, carry, Clock(), Budget(4, None), 2))
    assert shapes(pieces[-1].carry) == before
    for leaf in jax.tree.leaves(pieces[-1].carry.params):
        assert np.isfinite(leaf).all()
    report = pieces[-1].report
    assert report is not None
    assert all(np.isfinite(value) for value in report.values())
    assert set(COUNTS) & set(report)
    assert len(traced) == 2, "once for the shapes, once for the program, never again"


@pytest.mark.parametrize("name", RULES)
def test_zero_progress_and_a_seed_give_one_update(name):
    """A rule is a pure function: its update depends on its arguments alone."""
    rule, problem = find("rule", name)(), Tiny()
    objective, params = build(problem, "default", 0)
    if rule.refuses(objective):
        pytest.skip(f"{name}: {rule.refuses(objective)}")
    batch = problem.sample(jax.random.split(jax.random.key(0), BATCH)).at(0.0)
    state = rule.init(objective, params, jax.random.key(1))
    update = jax.jit(rule.update)
    first, second = (update(objective, params, state, batch, jax.random.key(2))[0] for _ in "ab")
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(first))
