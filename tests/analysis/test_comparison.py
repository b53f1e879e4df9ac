"""A Comparison scores as its frame and options do, and prepares its runs once."""

from unittest import mock

import numpy as np
import pandas as pd
import pytest

from physopt import analysis
from physopt.analysis import comparison as module

WITH_AXIS = (
    *("time_to_target", "score_table", "performance_profile", "ecdf", "batch_scaling"),
    *("device_scaling", "resample"),
)
WITHOUT_AXIS = ("final_errors", "ranks", "paired_tests")


@pytest.mark.parametrize("name", [*WITH_AXIS, *WITHOUT_AXIS])
def test_a_comparison_scores_as_its_frame_and_options_do(race, name):
    on_two = race.assign(device=np.where(race["seed"] == 0, "cpu", "H200"))
    comparison = analysis.Comparison(on_two, "updates", allow=["devices"])
    axis = {"axis": "updates"} if name in WITH_AXIS else {}
    score = getattr(analysis, name)
    pd.testing.assert_frame_equal(score(comparison), score(on_two, **axis, allow=["devices"]))


def test_an_option_beside_a_comparison_replaces_its_own(race):
    comparison = analysis.Comparison(race, "updates")
    by_calls = analysis.time_to_target(comparison, "calls")
    pd.testing.assert_frame_equal(by_calls, analysis.time_to_target(race, "calls"))
    assert not by_calls.equals(analysis.time_to_target(comparison))
    with pytest.raises(TypeError, match="alow"):
        analysis.score_table(race, alow=["devices"])


def test_scores_of_one_comparison_prepare_its_runs_once(race, monkeypatch):
    names = ("comparable", "hitting_times", "run_errors")
    counted = {name: mock.Mock(wraps=getattr(module, name)) for name in names}
    for name, function in counted.items():
        monkeypatch.setattr(module, name, function)
    comparison = analysis.Comparison(race)
    for score in (
        analysis.score_table, analysis.ranks, analysis.paired_tests, analysis.performance_profile,
        analysis.ecdf, analysis.time_to_target,
    ):  # fmt: skip
        score(comparison)
    assert [function.call_count for function in counted.values()] == [1, 1, 1]
