"""Ranking of a race: intervals of paired errors, failures, and the sentence on them."""

import math

import numpy as np
import pytest
from scipy import stats

from physopt.analysis.ranking import LEVEL, rank, seeds_to_be_sure, verdict


def test_the_interval_is_students_for_paired_logarithms_at_bonferronis_level():
    rng = np.random.default_rng(0)
    best = np.exp(rng.normal(size=6))
    factors = {"b": np.exp(1.5 + 0.5 * rng.normal(size=6)), "c": 40 * np.exp(rng.normal(size=6))}
    standings = rank({"a": best, **{name: best * factor for name, factor in factors.items()}})
    assert [standing.method for standing in standings] == ["a", "b", "c"]
    for standing in standings[1:]:
        test = stats.ttest_1samp(np.log(factors[standing.method]), 0.0)
        interval = test.confidence_interval(1 - LEVEL / 2)
        np.testing.assert_allclose(np.log([standing.low, standing.high]), interval, rtol=1e-12)
        assert standing.ratio == pytest.approx(stats.gmean(factors[standing.method]))
        assert standing.sure == bool(interval.low > 0)


def test_differences_that_all_seeds_share_are_no_chance_and_pairing_uses_this():
    of_seed = np.array([1e-3, 1.0, 1e3, 10.0])
    _, behind = rank({"a": of_seed, "b": 2 * of_seed * np.array([1.0, 1.01, 0.99, 1.0])})
    assert behind.sure
    _, behind = rank({"a": of_seed, "b": 2 * of_seed[::-1]})
    assert not behind.sure


def test_equal_methods_are_called_sure_about_as_rarely_as_the_level_allows():
    rng = np.random.default_rng(1)
    sure = [rank(dict(zip("ab", np.exp(rng.normal(size=(2, 5))), strict=True)))[1].sure
            for _ in range(150)]  # fmt: skip
    # The better of two equal methods comes first, so only one side of the interval can miss.
    assert np.mean(sure) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_the_number_of_seeds_that_would_be_enough():
    logs = np.array([0.2, 0.8, -0.4, 0.6])
    _, behind = rank({"a": np.ones(4), "b": np.exp(logs)})
    assert not behind.sure

    def half(count):
        return stats.t.ppf(0.975, count - 1) * logs.std(ddof=1) / count**0.5

    needed = behind.seeds_needed
    assert needed is not None
    assert half(needed) < logs.mean() <= half(needed - 1)
    assert seeds_to_be_sure(rank({"a": np.ones(4), "b": np.exp(logs)})) == (needed, [])
    same = rank({"a": np.ones(4), "b": np.array([1.0, 1.0, 1.12, 0.9])})
    assert seeds_to_be_sure(same) == (None, ["b"])


def test_failures_rank_last_and_are_sure_if_every_seed_fails():
    standings = rank({"a": [1, 2, 1], "fails": [math.inf] * 3, "c": [2, math.inf, 2.2]})
    assert [standing.method for standing in standings] == ["a", "c", "fails"]
    assert standings[2].sure
    assert standings[2].ratio == math.inf
    assert standings[1].failed == 1
    assert not rank({"a": [1, 2], "fails": [math.inf] * 2})[1].sure, "two runs are few"


def test_the_order_is_that_of_the_ratios():
    standings = rank({"a": [1.0, 3.0], "b": [1.9, 1.9], "c": [1.0, 2.9]})
    assert [standing.method for standing in standings] == ["c", "a", "b"]
    assert standings[1].median > standings[2].median, "not that of the medians"
    ratios = [standing.ratio for standing in standings]
    assert ratios == sorted(ratios)
    assert min(ratios) == 1


def test_exact_solutions_have_finite_ratios():
    _, behind = rank({"a": [0.0, 0.0, 0.0], "b": [0.1, 0.2, 0.1]})
    assert math.isfinite(behind.ratio)
    assert behind.sure
    assert rank({}) == []


def test_the_sentence_states_the_ranking():
    best = np.array([1.0, 2.0, 1.5, 1.2])
    near = best * np.exp([0.3, -0.1, 0.2, 0.1])
    errors = {"hig": best, "adam": 8 * best * np.exp([0.1, 0, -0.1, 0]), "gauss_newton": near}
    assert verdict(rank(errors), "20 s", "adam", ["sgd left in round 1"]) == (
        "hig: 8 times nearer than adam after 20 s, sure; gauss_newton not distinguishable; "
        "sgd left in round 1"
    )
    second = verdict(rank(errors), "20 s", "none")
    assert second.startswith("hig: 1.1 times nearer than gauss_newton after 20 s, not sure")
    assert second.endswith("; adam 8 times farther")
    assert verdict(rank({"hig": best}), "3 s", "adam") == "hig is the only rule left after 3 s"
    failed = rank({"hig": [math.inf] * 3})
    assert verdict(failed, "3 s", "adam") == "no rule reached the end of its training time"
