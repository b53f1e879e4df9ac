"""Conditioning: sizes, condition numbers and refusals against known linear physics."""

import math

import numpy as np
import pytest
from linear_race import Linear

from physopt.checking.conditioning import condition_number, conditioning
from physopt.config.run_config import make_config
from physopt.optimizers.first_order import Adam
from physopt.optimizers.quasi_newton import QuasiNewton
from physopt.rule import UpdateRule


class Refusing(Adam):
    def refuses(self, objective):
        return "no reason at all"


def test_the_condition_number_of_known_matrices():
    assert condition_number(np.diag([4.0, 2.0, 0.5]), 1e-12) == 8
    assert condition_number(np.diag([1.0, 1e-14]), 1e-12) == math.inf
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    stack = np.stack([rotation @ np.diag([1.0, 1.0, 1 / c]) for c in (10.0, 30.0, 90.0)])
    assert condition_number(stack, 1e-12) == pytest.approx(30)


def test_a_problem_is_measured():
    problem = Linear(decades=3.0)
    config = make_config(problem, Adam(), {"device": "cpu"})
    rules: dict[str, UpdateRule] = {"adam": Adam(), "ssbroyden": QuasiNewton()}
    rules["refusing"] = Refusing()
    measured = conditioning(config, rules)
    size = problem.size
    assert (measured.outputs, measured.unknowns) == (size, size)
    assert measured.parameters == size**2 + size
    assert measured.condition["of dy/dx"] == pytest.approx(1e3, rel=1e-6)
    # J of sample c is S (c^T, 1) (x) I: its Gram matrix is (1 + c_i . c_j) S S^T, whose condition
    # is the product of both factors', at least that of S S^T.
    of_network = measured.condition["of J"]
    assert isinstance(of_network, float)
    assert of_network > 1e3
    assert list(measured.milliseconds) == [
        "simulate", "simulate and vjp", "linearize (generic)", "invert",
    ]  # fmt: skip
    assert all(isinstance(value, float) and value > 0 for value in measured.milliseconds.values())
    assert list(measured.refusals) == ["ssbroyden", "refusing"]
    assert "train_size=batch_size" in measured.refusals["ssbroyden"]
    assert "refuses   refusing: no reason at all" in measured.lines()


def test_what_cannot_be_measured_has_a_reason():
    broken = Linear(broken_inverse=True)
    measured = conditioning(make_config(broken, Adam(), {"device": "cpu"}), {})
    assert str(measured.milliseconds["invert"]).startswith("failed: ")
    assert "of no use" in str(measured.milliseconds["invert"])
    assert measured.condition["of dy/dx"] == pytest.approx(1.0)
