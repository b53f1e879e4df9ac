"""Scores against numbers computed by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from analysis_records import at, write_run

from physopt import analysis
from physopt.analysis import load
from physopt.options import OptionError

INF = math.inf


def test_targets_are_shared_round_and_between_start_and_best(race):
    targets = analysis.shared_targets(race)
    expected = [10 ** (-k / 10) for k in range(1, 11)]  # 5 per decade give fewer than 8: 10 do not
    np.testing.assert_allclose(targets["target"], expected, rtol=1e-12)
    assert targets["own"].tolist() == [False] * 9 + [True]
    alone = analysis.shared_targets(race[race["method"] == "fast"])
    np.testing.assert_array_equal(alone["target"], targets["target"])


def test_time_to_target_by_hand(race):
    table = analysis.time_to_target(race)
    hard = at(table, 0.1)
    assert hard.loc["fast", ["runs", "reached", "median", "penalised"]].tolist() == [2, 2, 3, 3]
    # One run took 8 s, the other missed: twice the largest time on the case, 10 s.
    assert hard.loc["slow", ["runs", "reached", "median", "penalised"]].tolist() == [2, 1, INF, 14]
    assert hard.loc["slow", ["low", "high"]].tolist() == [8, 20]
    easy = at(table, 10**-0.3)
    assert easy.loc["fast", "penalised"] == 1.5
    assert easy.loc["slow", ["reached", "penalised", "low", "high"]].tolist() == [2, 4, 4, 4]


def test_all_failed_is_infinity_never_zero_or_nan(race):
    never = analysis.time_to_target(race).set_index("method").loc["never"]
    assert (never["reached"] == 0).all()
    for column in ("median", "penalised", "low", "high"):
        assert (never[column] == INF).all()


def test_nothing_but_failures_still_scores(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [], status="error", reason="broken")
    write_run(tmp_path, "a", "hig", 0, [], status="oom")
    frame = load(tmp_path)
    errors = analysis.final_errors(frame)
    assert errors["median"].tolist() == [INF, INF]
    assert errors["failed"].tolist() == [1, 1]
    table = analysis.score_table(frame)
    assert table["penalised"].tolist() == [INF, INF], "the problem's own target, not reached"
    assert analysis.ranks(frame)["mean"].tolist() == [1.5, 1.5]
    assert analysis.performance_profile(frame)["fraction"].max() == 0
    assert analysis.speedup(frame, "adam").empty


def test_without_a_finished_run_scores_are_empty_and_say_why(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.5], status="interrupted")
    frame = load(tmp_path)
    for score in (analysis.ranks, analysis.score_table, analysis.final_errors):
        table = score(frame)
        assert table.empty
        assert "1 interrupted" in " ".join(table.attrs["notes"])


def test_other_costs_and_compilation(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1, 0.5, 0.1], compile_seconds=5, batch_size=4)
    frame = load(tmp_path)
    last = {
        axis: at(analysis.time_to_target(frame, axis), 0.1).loc["adam", "penalised"]
        for axis in ("seconds", "updates", "calls")
    }
    assert last == {"seconds": 2, "updates": 20, "calls": 20 * 4 * 2}
    cold = analysis.time_to_target(frame, compile_time=True)
    assert at(cold, 0.1).loc["adam", "penalised"] == 7
    with pytest.raises(OptionError, match="did you mean seconds"):
        analysis.time_to_target(frame, "second")


def test_compilation_from_a_cache_counts_as_the_cold_one(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1, 0.1], compile_seconds=5)
    write_run(tmp_path, "a", "adam", 1, [1, 0.1], compile_seconds=1)
    frame = load(tmp_path)
    cached = frame.assign(compile_cached=(frame["seed"] == 1).astype(float))
    times = analysis.hitting_times(cached, compile_time=True)
    assert times.loc[np.isclose(times["target"], 0.1), "time"].tolist() == [6, 6]
    with pytest.raises(OptionError, match="no cold one"):
        analysis.hitting_times(cached[cached["seed"] == 1], compile_time=True)


def test_final_errors_are_those_of_the_best_parameters_on_the_validation_set(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1, 0.2, 0.4])
    write_run(tmp_path, "a", "adam", 1, [1, 0.3, math.nan], status="diverged")
    write_run(tmp_path, "a", "adam", 2, [], status="oom")
    (row,) = analysis.final_errors(load(tmp_path)).to_dict("records")
    assert (row["runs"], row["failed"]) == (3, 2)
    assert (row["median"], row["best"], row["high"]) == (0.3, 0.2, INF)


def test_the_best_parameters_are_selected_by_the_reported_metric(tmp_path):
    # The loss keeps falling, the validation metric does not: the second evaluation is selected.
    folder = write_run(tmp_path, "a", "adam", 0, [1, 0.4, 0.3])
    path = folder / "curve.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, on_validation in zip(rows, [0.9, 0.1, 0.2], strict=True):
        row["validation_error"] = on_validation
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (row,) = analysis.final_errors(load(tmp_path)).to_dict("records")
    assert row["median"] == 0.4


def test_profile_by_hand(tmp_path):
    # Two cases of one decade, 11 targets each, the last the problem's own. On `a` fast is twice as
    # fast everywhere; on `b` only slow improves.
    decade = [1.0, 0.5, 0.1]
    write_run(tmp_path, "a", "fast", 0, decade)
    write_run(tmp_path, "a", "slow", 0, decade, times=[0, 2, 4])
    write_run(tmp_path, "b", "fast", 0, [1.0, 1.0, 1.0])
    write_run(tmp_path, "b", "slow", 0, decade)
    profile = analysis.performance_profile(load(tmp_path))
    steps = {m: g[["ratio", "fraction"]].to_numpy().tolist() for m, g in profile.groupby("method")}
    assert steps["fast"] == [[1.0, pytest.approx(0.5)]]
    assert steps["slow"] == [[1.0, pytest.approx(0.5)], [2.0, pytest.approx(1.0)]]


def test_cases_have_equal_weight_whatever_their_number_of_targets(tmp_path):
    write_run(tmp_path, "wide", "fast", 0, [1.0, 1e-6], target=("error", 0.5))
    write_run(tmp_path, "wide", "slow", 0, [1.0, 1.0], target=("error", 0.5))
    write_run(tmp_path, "narrow", "slow", 0, [1.0, 0.1])
    write_run(tmp_path, "narrow", "fast", 0, [1.0, 1.0])
    profile = analysis.performance_profile(load(tmp_path))
    assert profile.groupby("method")["fraction"].max().tolist() == pytest.approx([0.5, 0.5])


def test_ecdf_by_hand(race):
    table = analysis.ecdf(race)
    fast = table[table["method"] == "fast"]
    # 3 of 10 targets at 1 s and 2 s in one run, 2 s and 4 s in the other, then all.
    assert fast["time"].tolist() == [0, 1, 2, 4, 10]
    assert fast["fraction"].tolist() == pytest.approx([0, 3 / 20, 13 / 20, 1, 1])
    assert table[table["method"] == "never"]["fraction"].tolist() == [0, 0]


def test_ranks_by_hand(tmp_path):
    for case, errors in {"a": (0.1, 0.2, 0.2), "b": (0.3, 0.1, 0.2)}.items():
        for method, error in zip(("x", "y", "z"), errors, strict=True):
            write_run(tmp_path, case, method, 0, [1.0, error])
    write_run(tmp_path, "c", "x", 0, [1.0, 0.1])
    table = analysis.ranks(load(tmp_path))
    assert table.loc["x", ["a", "b", "c"]].tolist() == [1, 3, 1]
    assert table.loc["y", ["a", "b", "c"]].tolist() == [2.5, 1, 2.5]
    assert table["mean"].to_dict() == pytest.approx({"x": 5 / 3, "y": 2, "z": 7 / 3})
    assert "y on c" in " ".join(table.attrs["notes"])


def test_speedup_by_hand(race):
    table = analysis.speedup(race, "slow")
    hard = at(table, 0.1)
    assert hard.loc["fast", "speedup"] == pytest.approx(14 / 3)
    assert at(table, 10**-0.3).loc["fast", "speedup"] == pytest.approx(4 / 1.5)
    assert hard.loc["never", "speedup"] == 0
    against_never = analysis.speedup(race, "never")
    assert (against_never["speedup"] == INF).all()
    with pytest.raises(OptionError, match="did you mean slow"):
        analysis.speedup(race, "slw")


def test_scores_do_not_change_their_frame(race):
    before = race.copy(deep=True)
    for function in (
        analysis.time_to_target, analysis.final_errors, analysis.ranks, analysis.paired_tests,
        analysis.performance_profile, analysis.ecdf, analysis.score_table,
    ):  # fmt: skip
        first, second = function(race), function(race)
        pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(race, before)
    assert race.attrs == {}
