"""The distribution of errors over single samples, from the records of runs."""

import math

import numpy as np
import pandas as pd
import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.analysis.report import write_parts
from physopt.analysis.report.data import page_data
from physopt.analysis.report.parts import Parts
from physopt.analysis.samples import tail

FALL = [1.0, 0.1]


def test_samples_of_all_runs_are_pooled_and_failures_count_as_infinite(tmp_path):
    write_run(tmp_path, "a", "adam", 0, FALL, samples=[1, 2, 3, 4, 5])
    write_run(tmp_path, "a", "adam", 1, FALL, samples=[6, 7, 8, 9, math.nan])
    write_run(tmp_path, "a", "sgd", 0, FALL, samples=[0.5] * 5)
    samples = analysis.sample_errors(analysis.load(tmp_path))
    assert samples.attrs["missing"] == {}
    assert samples["sample"].tolist() == [0, 1, 2, 3, 4] * 3
    sgd, adam = analysis.sample_quantiles(samples).to_dict("records")
    assert (adam["metric"], adam["runs"], adam["samples"]) == ("error", 2, 10)
    # Positions 4.5, 8.1 and 8.91 of 0 ... 9; the last value is infinite.
    assert adam["median"] == 5.5
    assert [adam[name] for name in ("p90", "p99", "worst")] == [math.inf] * 3
    assert [sgd[name] for name in ("median", "p90", "p99", "worst")] == [0.5] * 4
    figure = analysis.plot_samples(samples)
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "adam"]
    assert np.asarray(line.get_xydata())[0].tolist() == [9, 0.2]


def test_the_tail_is_the_share_with_at_least_an_error():
    errors = pd.Series([4.0, 1.0, 2.0, math.inf])
    assert tail(errors).to_numpy().tolist() == [[4, 0.5], [2, 0.75], [1, 1]]
    # Of a Pareto distribution, P(error >= e) = 1 / e.
    many = pd.Series(1 / ((np.arange(10_000) + 0.5) / 10_000))
    thinned = tail(many, 60)
    assert len(thinned) <= 60
    assert thinned["share"].iloc[[0, -1]].tolist() == [1e-4, 1]
    large = thinned[thinned["share"] > 0.01]
    np.testing.assert_allclose(large["share"] * large["error"], 1, rtol=0.01)


def test_a_run_without_errors_of_single_samples_is_a_reason(tmp_path):
    write_run(tmp_path, "a", "adam", 0, FALL, samples=[1, 2])
    old = write_run(tmp_path, "a", "adam", 1, FALL)
    damaged = write_run(tmp_path, "a", "adam", 2, FALL)
    (damaged / "test_metrics.npz").write_bytes(b"nonsense")
    other = write_run(tmp_path, "a", "adam", 3, FALL)
    np.savez(other / "test_metrics.npz", angle=np.ones(2, np.float32))
    samples = analysis.sample_errors(analysis.load(tmp_path))
    assert samples["seed"].unique().tolist() == [0]
    missing = samples.attrs["missing"]
    assert missing[str(old)] == "test_metrics.npz is missing"
    assert "cannot be read" in missing[str(damaged)]
    assert missing[str(other)] == "it has no errors of single samples called error"
    assert any(": 1 (test_metrics.npz is missing)." in note for note in samples.attrs["notes"])
    by_name = analysis.sample_errors(analysis.load(tmp_path), metric="angle")
    assert by_name["error"].tolist() == [1, 1]
    parts = Parts.of(analysis.Comparison(analysis.load(tmp_path)))
    write_parts(parts, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<td>1 of 4</td><td>2</td>" in text
    assert "Runs without errors of single samples: 1 (test_metrics.npz is missing)." in text


def test_runs_recorded_before_have_none_and_the_report_says_so(tmp_path):
    write_run(tmp_path, "a", "adam", 0, FALL)
    samples = analysis.sample_errors(analysis.load(tmp_path))
    assert samples.empty
    assert analysis.sample_quantiles(samples).empty
    analysis.write_report(analysis.load(tmp_path), tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "There are no errors of single samples to show." in text


def test_a_target_that_is_no_metric_of_samples_shows_the_loss(tmp_path):
    folder = write_run(tmp_path, "a", "adam", 0, FALL, target=("relative_l2", 0.1))
    np.savez(folder / "test_metrics.npz", test_loss=np.array([3.0, 1.0], np.float32))
    samples = analysis.sample_errors(analysis.load(tmp_path))
    assert samples[["metric", "error"]].to_numpy().tolist() == [["test_loss", 3], ["test_loss", 1]]


@pytest.mark.parametrize("status", ["interrupted", "running"])
def test_unfinished_runs_have_no_samples(tmp_path, status):
    write_run(tmp_path, "a", "adam", 0, FALL, samples=[1, 2])
    write_run(tmp_path, "a", "adam", 1, FALL, samples=[9, 9], status=status)
    assert analysis.sample_errors(analysis.load(tmp_path))["error"].max() == 2


def test_many_samples_add_little_to_the_page(tmp_path):
    random = np.random.default_rng(0)
    for seed in range(5):
        write_run(tmp_path, "a", "adam", seed, FALL, samples=random.lognormal(size=10_000))
    parts = Parts.of(analysis.Comparison(analysis.load(tmp_path)))
    (case,) = page_data(parts, analysis.sample_errors(parts.fair.comparison))["samples"]
    (line,) = case["lines"]
    assert line["runs"] == "5 runs, 50000 samples"
    assert len(line["error"]) == len(line["share"]) <= 60
