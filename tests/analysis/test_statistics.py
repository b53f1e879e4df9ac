"""Quantiles, intervals and significance tests against values computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from physopt.analysis.statistics import (
    holm,
    mean_interval,
    median_interval,
    quantile,
    ratio_interval,
    wilcoxon,
)
from physopt.analysis.targets import first_reached

INF = math.inf


def test_quantiles_with_infinite_and_missing_values():
    values = np.array([[1.0, 1, INF, np.nan], [2, INF, INF, np.nan], [3, INF, INF, 5]])
    assert quantile(values, 0.5).tolist() == [2, INF, INF, 5]
    assert quantile(values, 0.25).tolist() == [1.5, INF, INF, 5]
    assert np.isnan(quantile([np.nan, np.nan], 0.5))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9), st.floats(0, 1))
def test_quantiles_of_finite_values_are_numpys(values, q):
    expected = np.quantile(values, q)
    assert quantile(values, q) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(st.permutations([5.0, 3.0, 0.5, 0.2, 0.1]), st.permutations([0.6, 0.4, 0.15]))
def test_a_target_is_reached_at_the_first_value_at_or_below_it(values, targets):
    costs = np.arange(5.0)
    expected = [
        next((c for c, v in zip(costs, values, strict=True) if v <= t), INF) for t in targets
    ]
    assert first_reached(np.array(values), costs, np.array(targets)).tolist() == expected


def test_holm_by_hand():
    # Holm's procedure on 0.01 0.04 0.03 0.005 of m = 4.
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([]).tolist() == []


def test_wilcoxon_counts_infinite_differences_as_the_largest():
    assert wilcoxon([1, 2, 3, 4, 5, INF]) == pytest.approx(2 / 2**6)
    assert wilcoxon([-1, 2, 3, 4, 5, INF]) == pytest.approx(4 / 2**6)
    assert wilcoxon([0, 0]) == 1


def test_intervals_have_their_coverage():
    """Coverage of the 95 % interval over 200 normal samples of 20: above 85 %, which allows for the
    known undercoverage of the percentile bootstrap; three binomial standard errors are 5 %."""
    random = np.random.default_rng(0)
    samples = random.normal(size=(200, 20))
    mean, low, high = mean_interval(samples)
    assert np.mean((low <= 0) & (high >= 0)) > 0.85
    np.testing.assert_allclose(mean, samples.mean(axis=1), rtol=1e-12)
    medians = [median_interval(sample) for sample in samples[:50]]
    assert np.mean([low <= 0 <= high for _, low, high in medians]) > 0.85


def test_intervals_of_few_values():
    assert median_interval([2.0])[0] == 2
    assert np.isnan(median_interval([2.0])[1])
    assert median_interval([1.0, 2.0, INF]) == (2, 1, INF)
    ratio, low, high = ratio_interval([1, 2, 4], [2, 4, 8], paired=True)
    assert (ratio, low, high) == pytest.approx((2, 2, 2))
    unpaired = ratio_interval([1, 2, 4], [2, 4, 8], paired=False)
    assert unpaired[1] < 1.5 < 2.5 < unpaired[2]
    assert np.isnan(ratio_interval([1], [2, 3], paired=False)[1])
