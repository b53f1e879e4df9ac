"""The cutoff that a line search adapts."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_model import case, iterate

from physopt import Batch, Problem
from physopt.optimizers.spectral import EnergyNaturalGradient
from physopt.optimizers.spectral.trust_region import ENOUGH, FACTOR, HIGHEST, SHORT, adapted_cutoff
from physopt.training.per_sample import build_unknowns

LOWEST = (2 * 2.0**-52) ** 0.5
"""First cutoff for two parameters in float64."""


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def after(cutoff, length, slope=-2.0, curvature=4.0, lowest=1e-6):
    """Return the new cutoff; by default the model has its minimum at 1/2."""
    values = map(jnp.asarray, (length, slope, curvature))
    return float(adapted_cutoff(jnp.asarray(cutoff), lowest, *values))


@pytest.mark.parametrize("factor", [1.0, 1e-8, 1e8])
def test_the_cutoff_follows_the_fraction_of_the_best_length_in_any_unit(factor):
    """The fraction length c / -s does not change with the units of length and loss."""
    for fraction, expected in (
        (1.0, 1e-4 / FACTOR),
        (ENOUGH, 1e-4 / FACTOR),
        (0.99 * ENOUGH, 1e-4),
        (SHORT, 1e-4),
        (0.99 * SHORT, 1e-4 * FACTOR),
        (0.0, 1e-4 * FACTOR),
    ):
        length, slope = 0.5 * fraction * factor, -2.0 / factor**2
        cutoff = after(1e-4, length, slope, 4.0 / factor**3)
        np.testing.assert_allclose(cutoff, expected, rtol=1e-12)


def test_the_cutoff_stays_within_its_range():
    assert after(1e-6, 0.5) == 1e-6
    assert after(HIGHEST, 0.0) == HIGHEST
    # Where rounding is coarse the first cutoff may be above the range.
    assert after(0.3, 0.0, lowest=0.3) == 0.3


@pytest.mark.parametrize(("slope", "curvature"), [(-2.0, 0.0), (-2.0, -1.0), (0.0, 1.0)])
def test_without_a_minimum_of_the_model_every_length_but_zero_is_enough(slope, curvature):
    assert after(1e-4, 1e-9, slope, curvature) == 1e-4 / FACTOR
    assert after(1e-4, 0.0, slope, curvature) == 1e-4 * FACTOR


def test_a_linear_problem_needs_no_trust_region():
    matrix = np.diag([1.0, 1e-3, 1e-6])
    objective, params, batch = case(matrix, [1.0, 2.0, 3.0], np.zeros(3))
    iterates, _, infos = iterate(EnergyNaturalGradient(), objective, params, batch, 2)
    assert infos[0]["cutoff"] == infos[1]["cutoff"] < 1e-7
    np.testing.assert_allclose(matrix @ iterates[1], [1, 2, 3], rtol=1e-6)


@dataclasses.dataclass(frozen=True)
class Bent(Problem):
    """y = (x_1 + x_2^2, e x_2) with e = 1e-4, whose target (1, 1) asks for x_2 = 1e4.

    The full step from 0 is (1, 1e4), and x_2^2 allows a hundredth of a millionth of it.
    """

    def sample(self, keys):
        raise NotImplementedError

    def simulate(self, x, batch):
        return jnp.stack([x[:, 0] + x[:, 1] ** 2, 1e-4 * x[:, 1]], axis=1)


@pytest.mark.parametrize("line_search", ["grid", "armijo"])
def test_a_weak_direction_that_bends_does_not_hold_up_the_strong_one(line_search):
    """With its weak direction dropped a step reaches y_1 = 1, which a fixed cutoff never does.

    Later steps d along the valley y_1 = 1 gain e d in the loss and cost d^4 / 2: the best has an
    error d^2 = (e / 2)^(2/3) in y_1.
    """
    batch = Batch(jnp.zeros((1, 2)), jnp.ones((1, 2))).at(0.0)
    objective, start = build_unknowns(Bent(), batch.inputs)
    errors = {}
    for tau in (None, LOWEST):
        rule = EnergyNaturalGradient(tau=tau, line_search=line_search)
        x, state, infos = iterate(rule, objective, start, batch, 12)
        errors[tau] = abs(x[-1][0] + x[-1][1] ** 2 - 1)
        cutoffs = [float(info.get("cutoff", LOWEST)) for info in infos]
        if tau:
            assert state.cutoff == LOWEST
        else:
            assert max(cutoffs) > 100 * LOWEST
    assert errors[None] < (1e-4 / 2) ** (2 / 3)
    assert errors[LOWEST] > 0.1
