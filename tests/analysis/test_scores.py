"""Scores against numbers computed by hand."""

import json
import math
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.analysis import load
from physopt.options import OptionError

INF = math.inf


@pytest.fixture
def race(tmp_path):
    """One case, targets 10^(k/5) from 0.1 to 0.63: fast reaches 0.1 at 2 s and 4 s, slow at 8 s in
    one of two runs, never stays at 1; 10 s is the largest time of a run."""
    write_run(tmp_path, "a", "fast", 0, [1, 0.5, 0.1, 0.1])
    write_run(tmp_path, "a", "fast", 1, [1, 0.5, 0.1, 0.1], times=[0, 2, 4, 6])
    write_run(tmp_path, "a", "slow", 0, [1, 0.5, 0.1], times=[0, 4, 8])
    write_run(tmp_path, "a", "slow", 1, [1, 0.5, 0.5], times=[0, 4, 10])
    write_run(tmp_path, "a", "never", 0, [1, 1, 1])
    write_run(tmp_path, "a", "never", 1, [1, 2, math.nan], status="diverged")
    return load(tmp_path)


def at(table, target):
    return table[np.isclose(table["target"], target)].set_index("method")


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


def test_paired_tests_by_hand(tmp_path):
    for seed in range(6):
        write_run(tmp_path, "a", "good", seed, [1.0, 0.1 * (1 + seed)])
        write_run(tmp_path, "a", "poor", seed, [1.0, 0.2 * (1 + seed)])
        write_run(tmp_path, "a", "same", seed, [1.0, 0.2 * (1 + seed)])
    table = analysis.paired_tests(load(tmp_path)).set_index(["first", "second"])
    # Six pairs of one sign: 2 / 2^6; the three tests of the table make that 3 / 32 and 2 / 32.
    assert table.loc[("good", "poor"), "ratio"] == pytest.approx(2)
    assert table["pvalue"].tolist() == pytest.approx([1 / 32, 1 / 32, 1])
    assert table["corrected"].tolist() == pytest.approx([3 / 32, 3 / 32, 1])
    only = analysis.paired_tests(load(tmp_path), "poor")
    assert only[["first", "second"]].to_numpy().tolist() == [["poor", "good"], ["poor", "same"]]
    assert only["ratio"].iloc[0] == pytest.approx(0.5)


def test_cases_are_pairs_too(tmp_path):
    for k in range(6):
        for seed in (0, 1):
            write_run(tmp_path, f"case{k}", "good", seed, [1.0, 0.1])
            write_run(tmp_path, f"case{k}", "poor", seed, [1.0, 0.2 + 0.1 * k])
    overall = analysis.paired_tests(load(tmp_path)).set_index("case").loc["all cases"]
    assert overall["pairs"] == 6
    assert overall["pvalue"] == pytest.approx(1 / 32)
    assert overall["ratio"] == pytest.approx(math.sqrt(4 * 5))


def test_mixed_devices_are_refused_unless_allowed_and_never_pooled(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1])
    write_run(tmp_path, "a", "adam", 1, [1.0, 0.1], device_kind="H200", times=[0, 0.5])
    frame = load(tmp_path)
    for score in (analysis.time_to_target, analysis.final_errors, analysis.paired_tests):
        with pytest.raises(OptionError, match="different devices"):
            score(frame)
    table = analysis.time_to_target(frame, allow=["devices"])
    hard = at(table, 0.1)
    assert hard["penalised"].to_dict() == {"adam on cpu": 1, "adam on H200": 0.5}
    assert "cpu" in " ".join(table.attrs["notes"])
    with pytest.raises(OptionError, match="did you mean devices"):
        analysis.final_errors(frame, allow=["device"])


def test_versions_are_pooled_only_if_allowed(tmp_path):
    def write(rule, seed, jax):
        folder = write_run(tmp_path, "a", rule, seed, [1.0, 0.1])
        versions = {"jax": jax, "jaxlib": "1", "flax": "2", "optax": "3"}
        (folder / "env.json").write_text(json.dumps({"device_kind": "cpu", **versions}))

    write("adam", 0, "0.10.2")
    write("sgd", 0, "0.11.0")
    write_run(tmp_path, "a", "adam", 2, [1.0, 0.1])  # records no versions
    assert len(analysis.final_errors(load(tmp_path))) == 2  # two methods, nothing is pooled
    write("adam", 1, "0.11.0")
    frame = load(tmp_path)
    assert set(frame["versions"]) == {
        "jax 0.10.2, jaxlib 1, flax 2, optax 3",
        "jax 0.11.0, jaxlib 1, flax 2, optax 3",
        "unknown",
    }
    for score in (analysis.time_to_target, analysis.final_errors, analysis.paired_tests):
        with pytest.raises(
            OptionError, match=r"adam on a were made with different .*allow=versions"
        ):
            score(frame)
    table = analysis.final_errors(frame, allow=["versions"])
    assert table.set_index("method").loc["adam", "runs"] == 3
    assert "jax 0.10.2" in " ".join(table.attrs["notes"])
    assert analysis.device_scaling(frame, allow=["versions"]).empty, "one device, and no refusal"
    # Two folders are compared, not pooled: each may have versions of its own.
    sides = frame[frame["seed"] < 2].assign(source=frame["versions"])
    assert "final error" in analysis.compare(sides[sides["rule"] == "adam"])["quantity"].tolist()


def test_unequal_tuning_is_refused_unless_allowed(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1], tuning_trials=16)
    write_run(tmp_path, "a", "hig", 0, [1.0, 0.1])
    frame = load(tmp_path)
    with pytest.raises(OptionError, match="from 0 to 16 trials"):
        analysis.final_errors(frame)
    table = analysis.final_errors(frame, allow=["tuning"])
    assert "Unequal tuning" in " ".join(table.attrs["notes"])
    write_run(tmp_path, "a", "hig", 0, [1.0, 0.1], tuning_trials=16)
    assert len(analysis.final_errors(load(tmp_path))) == 2


def test_notes_state_what_is_left_out(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1])
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.3], name="newer", finished="2026-02-01T00:00:00")
    write_run(tmp_path, "a", "adam", 1, [1.0], status="interrupted")
    write_run(tmp_path, "a", "hig", 0, [], status="skipped", reason="no")
    table = analysis.final_errors(load(tmp_path))
    assert table[["method", "runs", "median"]].to_numpy().tolist() == [["adam", 1, 0.3]]
    notes = " ".join(table.attrs["notes"])
    assert "1 interrupted" in notes
    assert "hig on a" in notes
    assert "newer run repeats them: 1" in notes


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


def test_tuning_trials_are_left_out_beside_reporting_runs(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.5])
    write_run(tmp_path, "a", "adam", 1_000_000, [1.0, 0.1])
    table = analysis.final_errors(load(tmp_path))
    assert table[["runs", "median"]].to_numpy().tolist() == [[1, 0.5]]
    assert "trials of tuning" in " ".join(table.attrs["notes"])
    alone = load(tmp_path)
    assert analysis.final_errors(alone[alone["seed"] > 0])["median"].tolist() == [0.1]


def test_words_name_the_best_method_its_margin_and_significance(tmp_path):
    from physopt.analysis.words import findings, overall

    for case in ("a", "b"):
        for seed in range(8):
            write_run(tmp_path, case, "good", seed, [1.0, 0.2, 0.1 + 0.001 * seed])
            write_run(tmp_path, case, "poor", seed, [1.0, 0.5, 0.2 + 0.002 * seed], times=[0, 3, 6])
    frame = load(tmp_path)
    scores, tests = analysis.score_table(frame), analysis.paired_tests(frame)
    (first, second) = findings(scores, tests, "seconds")["a"]
    # Eight pairs of one sign: 2 / 2^8; two cases and both together make three tests.
    assert "good ends lowest, at error 0.104 [" in first
    assert "2 times below poor: significant, p = 0.023 over 8 seeds" in first
    assert second.startswith("good reaches the problem's own target error ≤ 0.1 first, in ")
    assert second.endswith("no other reached it.")
    sentences = overall(analysis.ranks(frame), analysis.performance_profile(frame), tests)
    best = "Over 2 problems good has the best mean rank by final error, 1; next poor, 2"
    assert sentences[0] == f"{best} (of 2 methods)."
    assert sentences[1] == (
        "good is the fastest to 100 % of the targets and reaches the most, 100 %."
    )
    assert "No difference between two methods is significant across all problems" in sentences[2]


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
    from physopt.analysis import comparison as module

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
