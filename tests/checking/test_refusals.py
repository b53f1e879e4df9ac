"""Refusals: rules declare the derivatives that they need, and no other rule lacks one."""

import jax
import jax.numpy as jnp
import pytest
from linear_model import case, random

from physopt.checking.refusals import refusal, served_text
from physopt.numerics.float64 import evaluated_in
from physopt.numerics.modes import no_forward_mode
from physopt.optimizers.first_order import AdaHessian, Adam
from physopt.optimizers.nncg import NNCG
from physopt.optimizers.spectral import GaussNewton


def adjoint_only():
    """Objective, parameters and batch of a host callback with a custom_vjp."""
    return case(random(6, 4), random(6), random(4), "callback")


@pytest.mark.parametrize(
    ("function", "forward"),
    [("linear", True), ("sine", True), ("reverse_only", False), ("callback", False)],
)
def test_forward_mode_is_found_from_shapes(function, forward):
    objective, params, batch = case(random(6, 4), random(6), random(4), function)
    reason = no_forward_mode(lambda params: objective.outputs(params, batch), params)
    assert (reason is None) == forward


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Adam(), None),
        (GaussNewton(), None),
        (GaussNewton(method="krylov"), "method=krylov needs forward differentiation"),
        (NNCG(), "no second derivatives"),
        (AdaHessian(), "no second derivatives"),
    ],
)
def test_an_adjoint_alone_serves_or_the_rule_says_why_not(rule, reason):
    refused = refusal(rule, *adjoint_only())
    assert refused is reason or (reason and refused and reason in refused)


def test_rules_are_listed_by_reason():
    refusals = {"a": None, "b": "no", "c": None, "d": "no", "e": "never"}
    assert served_text(refusals).splitlines() == [
        "served by a, c", "not by b, d: no", "not by e: never",
    ]  # fmt: skip


def test_forward_mode_of_the_gradient_of_a_float64_island_is_refused():
    """JAX traces its rules of vmap without end; rules with second derivatives try it."""
    island = evaluated_in(lambda x: jnp.sum(jnp.sin(x)))
    gradient = jax.grad(lambda x: jax.vmap(lambda x: island("float64", "float32", x))(x).sum())
    reason = no_forward_mode(gradient, jnp.ones((2, 3)))
    assert reason is not None
    assert "no such derivative" in reason
