"""Paired tests, and the sentences that state the best method and its certainty."""

import math

import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.analysis import load
from physopt.analysis.words import findings, overall


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


def test_a_time_beyond_the_budget_explains_itself(tmp_path):
    for seed, last in enumerate((0.05, 0.05, 0.5)):
        write_run(tmp_path, "a", "good", seed, [1.0, 0.5, last], times=[0, 1, 2], steps=20)
    frame = load(tmp_path)
    scores, tests = analysis.score_table(frame), analysis.paired_tests(frame)
    text = findings(scores, tests, "seconds")["a"][1]
    # Two runs took 2 s; the third counts twice the 2 s that were spent.
    mean = "2.67 s of training time (mean of 3 runs; 1 missed it and count with the penalty)"
    assert mean in text
    kept = frame[frame["seed"] < 2].assign(budget_seconds=1.9)
    text = findings(analysis.score_table(kept), tests, "seconds")["a"][1]
    assert "2 s of training time (the budget of 1.9 s ends with the update in which" in text


def test_words_name_the_best_method_its_margin_and_significance(tmp_path):
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
