"""Which runs are compared, and what the notes state about the others."""

import json

import pytest
from analysis_records import at, write_run

from physopt import analysis
from physopt.analysis import load
from physopt.options import OptionError


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


def test_tuning_trials_are_left_out_beside_reporting_runs(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.5])
    write_run(tmp_path, "a", "adam", 1_000_000, [1.0, 0.1])
    table = analysis.final_errors(load(tmp_path))
    assert table[["runs", "median"]].to_numpy().tolist() == [[1, 0.5]]
    assert "trials of tuning" in " ".join(table.attrs["notes"])
    alone = load(tmp_path)
    assert analysis.final_errors(alone[alone["seed"] > 0])["median"].tolist() == [0.1]


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


def test_runs_trained_on_the_test_set_are_refused_unless_allowed_and_never_pooled(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, 0.2])
    folder = write_run(tmp_path, "a", "adam", 1, [1.0, 0.1])
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "train_on": "test"}))
    frame = load(tmp_path)
    assert set(frame["method"]) == {"adam", "adam train_on=test"}
    for score in (analysis.time_to_target, analysis.final_errors, analysis.paired_tests):
        with pytest.raises(OptionError, match=r"trained on the samples that are scored.*train_on"):
            score(frame)
    with pytest.raises(OptionError, match="trained on the samples that are scored"):
        analysis.final_errors(frame[frame["seed"] == 1])  # alone it claims generalisation too
    table = analysis.final_errors(frame, allow=["train_on"])
    assert dict(zip(table["method"], table["median"], strict=True)) == {
        "adam": 0.2, "adam train_on=test": 0.1,
    }  # fmt: skip
    assert "training errors" in " ".join(table.attrs["notes"])
    sides = frame.assign(source=frame["method"])
    with pytest.raises(OptionError, match="trained on the samples that are scored"):
        analysis.compare(sides)
    page = tmp_path / "report.html"
    analysis.write_report(frame, page)
    assert "trained on the samples that are scored" in page.read_text()
