"""Records: no crash, no NaN and no foreign file can spoil them."""

import json
import math
import os

import filelock
import numpy as np

from physopt.records.folder import RunFolder, find_runs


def test_a_curve_cut_at_any_byte_of_its_last_line_keeps_the_lines_before(tmp_path):
    folder = RunFolder(tmp_path)
    rows = [{"step": k, "test_loss": 0.5 / (k + 1), "name": "µ"} for k in range(3)]
    for row in rows:
        folder.append(row)
    file = tmp_path / "curve.jsonl"
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in range(last, len(whole)):
        file.write_bytes(whole[:cut])
        assert folder.curve() == rows[:2]
    file.write_bytes(whole)
    assert folder.curve() == rows


def test_a_cut_curve_is_mended_when_the_run_goes_on(tmp_path):
    folder = RunFolder(tmp_path)
    for k in range(4):
        folder.append({"step": k})
    with open(tmp_path / "curve.jsonl", "a") as file:
        file.write('{"step": 4, "te')
    folder.truncate_curve(2)
    folder.append({"step": 3})
    assert [row["step"] for row in folder.curve()] == [0, 1, 2, 3]


def test_json_is_strict(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append({"loss": math.nan, "other": math.inf, "exact": np.float32(0.1), "n": np.int64(2)})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    line = (tmp_path / "curve.jsonl").read_text()
    row = json.loads(line, parse_constant=refuse)
    assert row == {"loss": None, "other": None, "exact": float(np.float32(0.1)), "n": 2}


def test_other_users_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        RunFolder(tmp_path).write("config.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_damaged_files_read_as_empty(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "config.json").write_bytes(b'{"problem": \xff')
    (tmp_path / "status.json").write_text("[1, 2]")
    (tmp_path / "curve.jsonl").write_text('nonsense\n[3]\n{"step": 1}\n')
    assert folder.read("config.json") == {}
    assert folder.status() == {}
    assert folder.curve() == [{"step": 1}]


def test_runs_are_found_at_and_below_a_folder(tmp_path):
    for name in ("b/x", "a/y"):
        RunFolder(tmp_path / name).write("config.json", {})
    assert [run.path.name for run in find_runs(tmp_path)] == ["y", "x"]
    assert len(find_runs(tmp_path / "a" / "y")) == 1


def test_what_lies_in_a_run_s_own_folders_is_no_run(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "checkpoints" / "rule" / "run")  # a problem may have any name
    run.write("config.json", {})
    RunFolder(run.checkpoints / "8" / "last").write("config.json", {})
    RunFolder(run.path / "profile").write("config.json", {})
    RunFolder(run.path / "more" / "problem" / "rule" / "inner").write("config.json", {})
    damaged = RunFolder(tmp_path / "problem" / "rule" / "damaged")
    damaged.write("status.json", {})
    RunFolder(damaged.checkpoints).write("config.json", {})
    looked_into, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: looked_into.append(path) or scandir(path))
    assert [found.path.name for found in find_runs(tmp_path)] == ["run", "inner", "damaged"]
    inside = (run.checkpoints, run.path / "profile", damaged.checkpoints)
    assert not {str(path) for path in inside} & {str(path) for path in looked_into}
    assert str(run.path / "more") in map(str, looked_into)


def test_a_run_whose_process_died_counts_as_interrupted(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_status("running", "")
    assert folder.status()["status"] == "interrupted"
    with filelock.FileLock(tmp_path / ".lock"):
        assert folder.status()["status"] == "running"
