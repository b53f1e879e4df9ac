"""Loading: every run becomes rows, whatever the state of its folder."""

import json
import math
import os

import filelock
import numpy as np
import pytest
from analysis_records import write_run

from physopt.analysis import load
from physopt.analysis.load import runs_of


def test_one_row_per_evaluation_with_the_settings_of_its_run(tmp_path):
    write_run(tmp_path, "ldft2d", "adam", 3, [1.0, 0.5, 0.25], options={"learning_rate": 0.01})
    frame = load(tmp_path)
    assert len(frame) == 3
    assert frame["step"].tolist() == [0, 10, 20]
    assert frame["error"].tolist() == [1.0, 0.5, 0.25]
    assert frame["n_vjp"].tolist() == [0, 40, 80]
    assert np.isnan(frame["train_loss"].iloc[0]), "null is a missing value, not zero"
    last = frame.iloc[-1]
    expected = {"problem": "ldft2d", "rule": "adam", "case": "ldft2d", "method": "adam", "seed": 3}
    expected |= {"status": "ok", "device": "cpu", "rule.learning_rate": 0.01, "target_value": 0.1}
    assert {name: last[name] for name in expected} == expected


def test_seaborn_draws_a_frame(tmp_path):
    import matplotlib as mpl

    mpl.use("agg")
    import seaborn as sns

    for seed in (0, 1):
        write_run(tmp_path, "a", "adam", seed, [1.0, 0.5])
    write_run(tmp_path, "a", "sgd", 0, [], status="error")
    grid = sns.relplot(load(tmp_path), x="t_train", y="error", hue="method", kind="line")
    assert len(grid.ax.lines) >= 1


def test_runs_in_every_state_are_rows_with_their_status(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0, math.nan], status="diverged", reason="loss is nan")
    write_run(tmp_path, "a", "hig", 0, [], status="skipped", reason="batch norm")
    running = write_run(tmp_path, "a", "sgd", 0, [1.0], status="running")
    write_run(tmp_path, "a", "sip", 0, [1.0], status="running")
    damaged = {
        "no_config": "config.json",
        "no_status": "status.json",
        "no_curve": "curve.jsonl",
    }
    for name, file in damaged.items():
        (write_run(tmp_path, "a", "muon", 0, [1.0], name=name) / file).write_text('{"cut": ')
    odd = write_run(tmp_path, "a", "lion", 0, [1.0], status="splendid")
    with filelock.FileLock(running / ".lock"):
        runs = runs_of(load(tmp_path)).set_index("run_id")
    assert runs.loc["a-adam-4-0", "reason"] == "loss is nan"
    status = runs["status"].to_dict()
    assert status["a-adam-4-0"] == "diverged"
    assert status["a-hig-4-0"] == "skipped"
    assert status["a-sgd-4-0"] == "running"
    assert status["a-sip-4-0"] == "interrupted"
    for name, file in damaged.items():
        assert status[name] == "damaged"
        assert file in runs.loc[name, "reason"]
        assert runs.loc[name, "problem"] == "a", "the folder still names the problem"
    assert status[odd.name] == "damaged"


def test_malformed_records_are_ignored(tmp_path):
    path = write_run(tmp_path, "a", "adam", 0, [1.0])
    (path / "config.json").write_text(json.dumps({"problem": 3, "rule": ["x"], "seed": "<b>"}))
    lines = [
        {"step": 10, "status": "ok", "folder": "/", "error": "small", "x": [1]},
        {"step": "ten", "error": 1.0},
        {"error": 2.0},
        {"step": 20, "error": 10**400, "method": 7},
    ]
    with open(path / "curve.jsonl", "a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.write('{"step": 30, "err')
    frame = load(tmp_path)
    assert frame["step"].tolist() == [0, 10, 20]
    assert frame["folder"].unique().tolist() == [str(path)]
    assert frame["error"].iloc[1:].isna().all()
    assert frame["method"].unique().tolist() == ["adam"]


def test_several_folders_make_one_frame_without_duplicates(tmp_path):
    write_run(tmp_path / "x", "a", "adam", 0, [1.0])
    write_run(tmp_path / "y", "a", "adam", 1, [1.0])
    frame = load(tmp_path / "x", tmp_path / "y", tmp_path)
    assert len(frame) == 2
    assert frame["source"].tolist() == [str(tmp_path / "x"), str(tmp_path / "y")]
    with pytest.raises(ValueError, match="no such folder"):
        load(tmp_path / "z")
    (tmp_path / "empty").mkdir()
    assert load(tmp_path / "empty").empty


def test_names_contain_the_options_that_differ_and_no_others(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "a", "adam", seed, [1.0], options={"learning_rate": 0.1, "b1": 0.9})
        write_run(tmp_path, "a", "hig", seed, [1.0], batch_size=8 * (1 + seed))
    write_run(tmp_path, "a", "adam", 2, [1.0], options={"learning_rate": 0.01, "b1": 0.9})
    # A different learning rate on another problem is tuning, not another method.
    write_run(tmp_path, "b", "adam", 0, [1.0], options={"learning_rate": 0.5, "b1": 0.9})
    runs = runs_of(load(tmp_path))
    on_a = runs[runs["case"] == "a"]
    assert sorted(on_a["method"].unique()) == [
        "adam learning_rate=0.01",
        "adam learning_rate=0.1",
        "hig batch_size=16",
        "hig batch_size=8",
    ]
    assert runs.loc[runs["case"] == "b", "method"].tolist() == ["adam"]


def test_none_differs_from_a_number_but_not_from_an_option_that_a_record_lacks(tmp_path):
    write_run(tmp_path, "a", "hig", 0, [1.0], options={"damping": None})
    write_run(tmp_path, "a", "hig", 1, [1.0], options={"damping": 0.5})
    write_run(tmp_path, "a", "sgd", 0, [1.0], options={"momentum": 0.9})
    write_run(tmp_path, "a", "sgd", 1, [1.0])
    assert set(load(tmp_path)["method"]) == {"hig damping=none", "hig damping=0.5", "sgd"}


def test_a_batch_size_common_to_all_rules_is_not_in_their_names(tmp_path):
    write_run(tmp_path, "a", "adam", 0, [1.0], batch_size=32)
    for batch_size in (8, 32, 128):
        write_run(tmp_path, "a", "hig", 0, [1.0], batch_size=batch_size)
    names = {"adam", "hig", "hig batch_size=8", "hig batch_size=128"}
    assert set(load(tmp_path)["method"]) == names
    write_run(tmp_path, "a", "adam", 0, [1.0], batch_size=8)
    both = {f"{rule} batch_size={size}" for rule in ("adam", "hig") for size in (8, 32)}
    assert set(load(tmp_path)["method"]) == {*both, "hig batch_size=128"}


def test_a_plug_in_is_named_after_its_class(tmp_path):
    folder = write_run(tmp_path, "a", "x", 0, [1.0])
    config = json.loads((folder / "config.json").read_text())
    config["rule"]["name"] = "/home/someone/mine.py:Mine"
    (folder / "config.json").write_text(json.dumps(config))
    assert load(tmp_path)["rule"].tolist() == ["Mine"]


def test_loading_time_is_proportional_to_the_runs(tmp_path, monkeypatch):
    """Each file of each run is opened once; opens are counted because times are noisy."""
    original, opened = os.open, []

    def counted(path, *arguments, **more):
        opened.append(os.fspath(path))
        return original(path, *arguments, **more)

    monkeypatch.setattr(os, "open", counted)
    for runs in (10, 20):
        for seed in range(runs):
            write_run(tmp_path / str(runs), "a", "adam", seed, [1.0])
        opened.clear()
        assert len(load(tmp_path / str(runs))) == runs
        assert len(opened) == len(set(opened)) == 4 * runs
