"""Every problem and every rule makes a program that a TPU can run, lowered on any machine.

A TPU has no float64, and of the custom calls that linear algebra lowers to it has its own only;
JAX lowers all the same. What a TPU cannot do must be refused in words. Nothing is compiled: a
program is traced and lowered from shapes.
"""

import re

import jax
import jax.numpy as jnp
import pytest
from two_terms import two_terms

from physopt.config.presets import suited_options
from physopt.config.registry import find
from physopt.machine.devices import current_platform, programs_for
from physopt.objective import build
from physopt.optimizers import RULES
from physopt.optimizers.spectral import HalfInverse
from physopt.problems import PROBLEMS
from physopt.training.data import training_source
from physopt.training.loop import evaluate

BATCH = 4

NATIVE = {
    *("Eigh", "Qr", "ProductOfElementaryHouseholderReflectors", "LuDecomposition"),
    "AllocateBuffer",  # an array without values, of JAX 0.11
}
"""Custom calls of XLA:TPU by JAX's lowering rules for that platform. Cholesky factorisations and
triangular solves are operations of StableHLO itself."""

SPECTRAL = {"gram_dtype": "float32", "tau": 1e-2}
OPTIONS = {
    "hig": SPECTRAL,
    "gauss_newton": SPECTRAL,
    "engd": SPECTRAL,
    "spring": {"gram_dtype": "float32", "damping": 1e-4},
}
"""Options that a rule needs on a TPU, as its refusal says."""

LINEARISING = ("adam", "sip", "hig", "gauss_newton")
"""Rules that between them use every function of a problem except estimators of gradients."""

REFUSED = {("heat", "sip"): "the inverse solver of Heat calculates in float64, which a TPU lacks"}
"""What LINEARISING refuse on a TPU, with the options above."""


@pytest.fixture(autouse=True)
def tpu():
    with programs_for("tpu"):
        yield


def check(function, *arguments):
    """Lower for a TPU, and assert that it has what the program needs."""
    traced = jax.jit(function).trace(*arguments)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    wide = [line.strip() for line in text.splitlines() if "f64" in line]
    assert not wide, f"float64 in {wide[0][:200]}"
    called = set(re.findall(r"custom_call @([\w.$]+)", text))
    assert called <= NATIVE, f"no TPU has {called - NATIVE}"
    return text


def rule_for(problem, name, **options):
    cls = find("rule", name)
    suited = suited_options(type(problem), cls)
    return cls(**{**suited, **OPTIONS.get(name, {}), **options})


def check_update(rule, objective, params, batch):
    key = jax.random.key(0)
    state = jax.eval_shape(rule.init, objective, params, key)
    return check(rule.update, objective, params, state, batch, key)


def case(name):
    cls = find("problem", name)
    problem = cls(**cls.tiny)
    objective, params = build(problem, "default", 0)

    def draw(key):
        return problem.sample(jax.random.split(key, BATCH)).at(0.0)

    return problem, objective, params, jax.eval_shape(draw, jax.random.key(0))


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem(name):
    problem, objective, params, batch = case(name)
    keys = jax.random.split(jax.random.key(0), BATCH)
    check(lambda keys: (problem.sample(keys).at(0.0), problem.held_out(keys).at(0.0)), keys)
    source = training_source(problem, 0, BATCH, None)
    check(lambda *a: evaluate(*a, source, chunk=2), objective, params, batch)
    for rule_name in LINEARISING:
        rule = rule_for(problem, rule_name)
        reason = rule.refuses(objective)
        assert reason == REFUSED.get((name, rule_name))
        if reason is None:
            check_update(rule, objective, params, batch)


@pytest.mark.parametrize("name", [name for name in RULES if name not in LINEARISING])
def test_every_rule(name):
    rule = rule_for(find("problem", "toy")(), name)
    # The toy problem estimates no gradient of its own.
    for problem_name in ("toy", "ldft2d", "springs"):
        _, objective, params, batch = case(problem_name)
        if rule.refuses(objective) is None:
            check_update(rule, objective, params, batch)
            return
    if name == "dual_cone":
        objective, params, batch = two_terms()
        assert rule.refuses(objective) is None
        check_update(rule, objective, params, batch)
        return
    raise AssertionError(f"{name} refuses all: {rule.refuses(objective)}")


def test_powers_by_shifted_factorisations():
    problem, objective, params, batch = case("poisson8")
    rule = rule_for(problem, "hig", decomposition="rational")
    assert "cholesky" in check_update(rule, objective, params, batch)


def test_float64_matrices_are_refused_with_a_remedy():
    _, objective, _, _ = case("toy")
    assert HalfInverse().refuses(objective) == (
        "a TPU has no float64; use gram_dtype=float32 with tau or damping >= 1e-2"
    )


def test_the_platform_is_part_of_the_cache_of_traces():
    @jax.jit
    def scaled(x):
        return x * (2.0 if current_platform() == "tpu" else 3.0)

    assert scaled(jnp.ones(())) == 2.0
    with programs_for("cpu"):
        assert scaled(jnp.ones(())) == 3.0
    assert scaled(jnp.ones(())) == 2.0


def test_a_program_with_float64_is_noticed():
    def wide(x):
        with jax.enable_x64(True):
            return jax.lax.convert_element_type(jax.lax.convert_element_type(x, "float64"), x.dtype)

    with pytest.raises(AssertionError, match="float64 in"):
        check(wide, jnp.ones(3, "float32"))
