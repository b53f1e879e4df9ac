"""Curves, comparisons and figures: the drawn data are those of the records."""

import json
import math

import numpy as np
import pytest
from analysis_records import write_run

from physopt import analysis
from physopt.analysis.resampling import endpoints, quantile_name
from physopt.options import OptionError

INF = math.inf


def points(line):
    """Return the points of a line as an array [point, 2]."""
    return np.asarray(line.get_xydata(), float)


def marks(panel):
    """Return the points of markers without a line."""
    alone = [points(line) for line in panel.lines if line.get_linestyle() == "None"]
    return [tuple(point) for drawn in alone for point in drawn.tolist()]


def at(table, cost, column="median"):
    """Interpolate a resampled curve at a cost."""
    return float(np.interp(cost, table["cost"], table[column]))


def test_curves_are_interpolated_logarithmically_on_a_shared_axis(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.01], times=[0, 10])
    write_run(tmp_path, "a", "adam", 1, [1.0, 1e-4, 1e-4], times=[0, 5, 10])
    write_run(tmp_path, "a", "adam", 2, [1.0, 1.0, 1.0], times=[0, 5, 10])
    table = analysis.resample(analysis.load(tmp_path), points=400)
    assert table["cost"].is_monotonic_increasing
    half = table[np.isclose(table["cost"], 10)].iloc[0]
    assert half[["low", "median", "high"]].tolist() == pytest.approx([0.00505, 0.01, 0.505])
    # At 5 s the first run is half way down on a logarithmic scale: 0.1.
    assert at(table, 5) == pytest.approx(0.1, rel=0.05)


def test_a_completed_run_keeps_its_value_and_a_failed_one_is_infinite(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1], times=[0, 2], status="target")
    write_run(tmp_path, "a", "adam", 1, [1.0, 0.5], times=[0, 10])
    write_run(tmp_path, "a", "adam", 2, [1.0, 2.0, math.nan], times=[0, 2, 3], status="diverged")
    table = analysis.resample(analysis.load(tmp_path))
    last = table.iloc[-1]
    assert (last["cost"], last["runs"]) == (10, 3)
    assert last[["low", "median", "high"]].tolist() == [pytest.approx(0.3), 0.5, INF]


def test_a_median_over_mostly_failed_runs_ends(tmp_path):
    for seed in (0, 1):
        errors = [1.0, 3.0, math.nan]
        write_run(tmp_path, "a", "sgd", seed, errors, times=[0, 1, 2], status="diverged")
    write_run(tmp_path, "a", "sgd", 2, [1.0, 0.5, 0.4], times=[0, 5, 10])
    table = analysis.resample(analysis.load(tmp_path))
    assert table.loc[table["cost"] > 1, "median"].eq(INF).all()
    assert np.isfinite(table.loc[table["cost"] <= 1, "median"]).all()
    figure = analysis.curves(analysis.load(tmp_path))
    (line,) = [line for line in figure.axes[0].lines if line.get_label() == "sgd"]
    assert points(line)[:, 0].max() <= 1


def test_an_unfinished_run_contributes_up_to_its_last_evaluation(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 1.0], times=[0, 10])
    write_run(tmp_path, "a", "adam", 1, [3.0, 3.0], times=[0, 4], status="interrupted")
    table = analysis.resample(analysis.load(tmp_path))
    assert table.loc[table["cost"] <= 4, "median"].eq(2).all()
    assert table.loc[table["cost"] > 4, "median"].eq(1).all()
    assert table["runs"].tolist() == [2 if cost <= 4 else 1 for cost in table["cost"]]


def test_a_curve_is_flat_until_compilation_ends(tmp_path):
    # 4 s of compilation, then 2 s of training from 1 to 0.01: 10^-(t - 4) after 4 s.
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.01], times=[0, 2], compile_seconds=4)
    frame = analysis.load(tmp_path)
    table = analysis.resample(frame, compile_time=True)
    compiling = table["cost"] <= 4
    assert table.loc[compiling, "median"].eq(1).all()
    assert table.loc[compiling, "cost"].max() == 4
    expected = 10.0 ** -(table["cost"] - 4)
    np.testing.assert_allclose(table["median"][~compiling], expected[~compiling], rtol=1e-12)
    without = analysis.resample(frame)
    np.testing.assert_allclose(without["median"], 10.0 ** -without["cost"], rtol=1e-12)


def test_curves_are_flat_during_every_compilation_of_a_resumed_run(tmp_path):
    folder = write_run(tmp_path, "a", "adam", 0, [4.0, 3.0, 2.0, 0.0], times=[0, 1, 2, 3])
    rows = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    for row, t_compile in zip(rows, (0, 5, 5, 12), strict=True):  # resumed after the third row
        row["t_compile"] = t_compile
    (folder / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = analysis.resample(analysis.load(tmp_path), compile_time=True)
    expected = np.interp(table["cost"], [0, 5, 6, 7, 14, 15], [4, 4, 3, 2, 2, 0])
    assert {5.0, 14.0, 15.0} <= set(table["cost"])
    np.testing.assert_allclose(table["median"], expected, atol=1e-12)
    ends = analysis.curves(analysis.load(tmp_path), compile_time=True).axes[0].lines[0]
    assert points(ends)[:, 0].max() == 15


def test_medians_over_different_compilation_times_are_exact_at_their_ends(tmp_path):
    for seed, seconds in enumerate((1.0, 2.0, 8.0)):
        write_run(tmp_path, "a", "adam", seed, [1.0, 0.1], times=[0, 1], compile_seconds=seconds)
    table = analysis.resample(analysis.load(tmp_path), compile_time=True)
    assert table.loc[table["cost"] <= 2, "median"].eq(1).all()  # two of three still compile
    assert {1.0, 2.0, 8.0} <= set(table["cost"])
    assert table.loc[table["cost"] == 9, "median"].tolist() == [pytest.approx(0.1)]


def test_every_bad_end_is_on_the_figure(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1, 0.01])
    write_run(tmp_path, "a", "sgd", 0, [1.0, 2.0, math.nan], status="diverged")
    write_run(tmp_path, "a", "hig", 0, [1.0, 0.3], status="oom")
    write_run(tmp_path, "a", "cma_es", 0, [], status="error", reason="broken")
    write_run(tmp_path, "a", "sip", 0, [], status="skipped", reason="no inverse")
    frame = analysis.load(tmp_path)
    ends = endpoints(frame).set_index("method")
    assert ends.loc["sgd", ["cost", "value"]].tolist() == [2, 2], (
        "where it ended, last finite value"
    )
    assert ends.loc["hig", ["cost", "value"]].tolist() == [1, 0.3]
    figure = analysis.curves(frame)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"adam", "sgd", "hig", "diverged", "out of memory"} <= set(names)
    panel = figure.axes[0]
    assert set(marks(panel)) == {(2.0, 2.0), (1.0, 0.3)}
    (text,) = [text.get_text() for text in panel.texts]
    assert "cma_es: 1 error" in text
    assert "sip: 1 refused" in text


def test_the_figure_states_units_quantiles_seeds_and_compilation(tmp_path):
    for seed in range(3):
        write_run(tmp_path, "a", "adam", seed, [1.0, 0.1], compile_seconds=7)
    frame = analysis.load(tmp_path)
    figure = analysis.curves(frame)
    panel = figure.axes[0]
    assert panel.get_xlabel() == "training time (s)"
    assert panel.get_ylabel() == "error, test set"
    assert figure.legends[0].get_title().get_text() == "median; band: quartiles"
    assert "3 runs" in figure.get_supxlabel()
    assert "compilation not included" in figure.get_supxlabel()
    cold = analysis.curves(frame, compile_time=True)
    assert "compilation included" in cold.get_supxlabel()
    assert points(cold.axes[0].lines[0])[:, 0].max() == 8
    wide = analysis.curves(frame, "calls", low=0.1, high=0.9)
    assert wide.axes[0].get_xlabel() == "physics calls (samples)"
    assert quantile_name(0.1, 0.9) in wide.legends[0].get_title().get_text()


def test_devices_stay_apart_in_curves(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.1])
    write_run(tmp_path, "a", "adam", 1, [1.0, 0.2], device_kind="H200")
    table = analysis.resample(analysis.load(tmp_path))
    assert sorted(table["method"].unique()) == ["adam on H200", "adam on cpu"]


@pytest.fixture
def batches(tmp_path):
    """Twice the batch: half as many updates per second; hig needs half as many updates."""
    for batch in (8, 16):
        for seed in (0, 1):
            slow = batch / 8
            write_run(tmp_path, "a", "hig", seed, [1.0, 0.5 * 8 / batch, 0.1],
                      times=[0, slow, 2 * slow], batch_size=batch)  # fmt: skip
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.5], batch_size=8)
    return analysis.load(tmp_path)


def test_batch_scaling_by_hand(batches):
    table = analysis.batch_scaling(batches)
    assert table[["rule", "batch_size", "runs"]].to_numpy().tolist() == [
        ["hig", 8, 2],
        ["hig", 16, 2],
    ]
    assert table["updates_per_second"].tolist() == [10, 5]
    assert table["samples_per_second"].tolist() == [80, 80]
    assert table["target"].tolist() == [pytest.approx(0.1)] * 2
    assert table["penalised"].tolist() == [2, 4]
    figure = analysis.plot_scaling(table)
    assert figure.axes[0].get_ylabel() == "throughput (samples/s)"


def test_batch_scaling_keeps_devices_apart(tmp_path):
    for device, speed in (("cpu", 1.0), ("H200", 0.1)):
        for batch in (8, 16):
            write_run(tmp_path, "a", "hig", 0, [1.0, 0.1], times=[0, speed], batch_size=batch,
                      device_kind=device, name=f"{device}{batch}")  # fmt: skip
    frame = analysis.load(tmp_path)
    with pytest.raises(OptionError, match="different devices"):
        analysis.batch_scaling(frame)
    table = analysis.batch_scaling(frame, allow=["devices"])
    assert table["rule"].tolist() == ["hig on H200"] * 2 + ["hig on cpu"] * 2
    by_device = analysis.device_scaling(frame)
    assert by_device[["device", "batch_size", "penalised"]].to_numpy().tolist() == [
        ["H200", 8, 0.1], ["cpu", 8, 1], ["H200", 16, 0.1], ["cpu", 16, 1],
    ]  # fmt: skip


def test_other_figures_draw_each_method(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "a", "fast", seed, [1.0, 0.5, 0.1])
        write_run(tmp_path, "a", "slow", seed, [1.0, 0.8, 0.5])
    frame = analysis.load(tmp_path)
    profile = analysis.plot_profile(analysis.performance_profile(frame))
    assert [text.get_text() for text in profile.legends[0].get_texts()] == ["fast", "slow"]
    assert analysis.plot_ecdf(analysis.ecdf(frame)).axes[0].get_title(loc="left") == "a"
    figure = analysis.plot_speedup(analysis.speedup(frame, "slow"), "slow")
    assert "slow / method" in figure.axes[0].get_ylabel()


def two(tmp_path, first, second, seeds=(0, 1, 2), rule="hig"):
    for seed in seeds:
        write_run(tmp_path / "A", "a", "adam", seed, [1.0, 0.5, first * (1 + seed)])
        write_run(tmp_path / "B", "a", rule, seed, [1.0, 0.5, second * (1 + seed)],
                  times=[0, 2, 4])  # fmt: skip
    return analysis.load(tmp_path / "A", tmp_path / "B")


def test_comparison_by_hand(tmp_path):
    frame = two(tmp_path, 0.01, 0.02)
    table = analysis.compare(frame).set_index("quantity")
    error = table.loc["final error"]
    assert error[["a", "b"]].tolist() == pytest.approx([0.01 * 6 ** (1 / 3), 0.02 * 6 ** (1 / 3)])
    assert error[["ratio", "low", "high"]].tolist() == pytest.approx([2, 2, 2]), "paired by seed"
    assert error[["first", "second", "runs"]].tolist() == ["adam", "hig", "3 pairs"]
    assert table.loc["updates a second", "ratio"] == pytest.approx(0.5)
    (cost,) = [name for name in table.index if name.startswith("training time to")]
    assert table.loc[cost, "ratio"] == pytest.approx(2)
    figure = analysis.plot_comparison(frame)
    names = figure.axes[0].get_legend_handles_labels()[1]
    assert names == ["A: adam", "B: hig"]


def test_one_run_each_has_no_interval_and_failures_give_medians(tmp_path):
    table = analysis.compare(two(tmp_path, 0.01, 0.02, seeds=(0,))).set_index("quantity")
    assert table.loc["final error", "ratio"] == pytest.approx(2)
    assert np.isnan(table.loc["final error", "low"])
    write_run(tmp_path / "B", "a", "hig", 1, [], status="error")
    frame = analysis.load(tmp_path / "A", tmp_path / "B")
    error = analysis.compare(frame).set_index("quantity").loc["final error"]
    assert (error["b"], error["ratio"]) == (INF, INF)
    assert "ratio inf" in [
        text.get_text() for text in analysis.plot_comparison(frame).axes[1].texts
    ]


def test_incomparable_folders_are_refused(tmp_path):
    frame = two(tmp_path, 0.01, 0.02)
    with pytest.raises(OptionError, match="takes two folders"):
        analysis.compare(frame[frame["source"] == frame["source"].iloc[0]])
    write_run(tmp_path / "C", "b", "adam", 0, [1.0])
    with pytest.raises(OptionError, match="in common: a and b"):
        analysis.compare(analysis.load(tmp_path / "A", tmp_path / "C"))
    write_run(tmp_path / "D", "a", "adam", 0, [1.0, 0.5], device_kind="H200")
    mixed = analysis.load(tmp_path / "A", tmp_path / "D")
    with pytest.raises(OptionError, match="different devices"):
        analysis.compare(mixed)
    assert len(analysis.compare(mixed, allow=["devices"]))


def test_example_results_are_complete_and_small():
    from pathlib import Path

    examples = Path(analysis.__file__).resolve().parent / "example_results"
    frame = analysis.load(examples)
    runs = frame.drop_duplicates("folder")
    assert len(runs) > 50
    assert set(runs["status"]) == {"ok", "budget", "diverged"}
    assert sum(file.stat().st_size for file in examples.rglob("*") if file.is_file()) < 1e6


def test_a_large_divergence_is_marked_on_the_edge_and_does_not_set_the_scale(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.9, 0.8])
    write_run(tmp_path, "a", "sgd", 0, [1.0, 1e20, math.nan], status="diverged")
    panel = analysis.curves(analysis.load(tmp_path)).axes[0]
    top = panel.get_ylim()[1]
    assert top < 5
    assert marks(panel) == [(2, pytest.approx(top))]


def test_a_failure_before_the_first_update_is_marked_on_a_logarithmic_axis(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.9, 0.8])
    write_run(tmp_path, "a", "hig", 0, [1.0], status="oom")
    panel = analysis.curves(analysis.load(tmp_path), logarithmic=(True, True)).axes[0]
    ((cost, _),) = marks(panel)
    low, high = panel.get_xlim()
    assert low <= cost <= high
