"""Damage: a run whose records are damaged is a row with a reason, and hides no other run."""

import json
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
from analysis_records import write_run
from damage import damaged
from PIL import Image

from physopt.analysis import load
from physopt.analysis.load import runs_of
from physopt.cli import main
from physopt.records import Record, RunFolder, find_runs

MUTATIONS = int(os.environ.get("PHYSOPT_MUTATIONS", "240"))
"""Damaged runs of the test."""

BASELINES = {"bank": {"error": 0.3}}


def whole_run(root, rule, seed, problem="case"):
    """Write a run with all files that commands read."""
    folder = write_run(root, problem, rule, seed, [1.0, 0.5, 0.2], options={"tau": 0.1})
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "step": 20, "t_train": 2.0}))
    (folder / "baselines.json").write_text(json.dumps(BASELINES))
    Image.fromarray(np.full((4, 4, 3), 99, np.uint8)).save(folder / "figure.png")
    return folder


@pytest.mark.parametrize("part", range(3))
def test_a_damaged_run_hides_no_other_and_stops_no_command(tmp_path, capsys, part):
    """Random damage to hundreds of runs, from a fixed seed."""
    dice = random.Random(part)
    healthy = [whole_run(tmp_path / name, "adam", 0, problem="healthy") for name in ("a", "b")]
    expected = load(*healthy)
    ill = []
    for k in range(MUTATIONS // 3):
        folder = whole_run(tmp_path / "a" / str(k), dice.choice(("adam", "hig")), k)
        ill.append(damaged(folder, dice))
    frame = load(tmp_path / "a", tmp_path / "b")
    assert set(frame["folder"]) == set(map(str, [*healthy, *ill])), "each run has a row"
    assert set(frame["folder"]) == {str(f.path) for f in find_runs(tmp_path)}
    left = frame[frame["folder"].isin(map(str, healthy))]
    for column in ("step", "error", "test_loss", "t_train", "status", "reason", "seed", "rule"):
        assert left[column].tolist() == expected[column].tolist()
    runs = runs_of(frame)
    assert runs.loc[runs["status"] == "damaged", "reason"].str.contains(r"\.jsonl? ?\S").all()
    assert not runs["reason"].str.contains("[\x00-\x08\x1b\ud800-\udfff]").any()

    allowed = "allow=[devices,versions,tuning]"
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main(["status", str(tmp_path)]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert sum("damaged" in row for row in rows) >= (runs["status"] == "damaged").sum()
    assert not re.search("[\x00-\x08\x1b]", "".join(rows)), "no record writes to the terminal"
    assert main(["score", *folders, allowed]) == 0
    assert main(["compare", *folders, allowed, f"out={tmp_path / 'c.png'}"]) == 0
    assert main(["report", *folders, allowed, f"out={tmp_path / 'r.html'}", "debug=true"]) == 0
    assert len(re.findall(r'<tr class="(?:well|ill)">', (tmp_path / "r.html").read_text())) == len(
        runs
    )


def spoilt(tmp_path, file, content):
    """Return the record of a run, one of whose files has been replaced."""
    folder = whole_run(tmp_path, "adam", 0)
    assert Record(RunFolder(folder)).damage is None
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Record(RunFolder(folder))


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", "{", "config.json is not JSON"),
        ("config.json", "[1]", "config.json is not a table"),
        ("config.json", "[" * 100_000, "config.json is not JSON"),
        ("config.json", '{"a":' * 60 + "1" + "}" * 60, "config.json is nested too deeply"),
        ("config.json", '{"rule": {"name": "x"}}', "config.json has no problem"),
        ("config.json", '{"problem": 3, "rule": {"name": "x"}}', "problem is not a table with"),
        ("env.json", '{"device_kind": ["cpu"]}', "env.json: device_kind is not text"),
        ("env.json", '{"sources": {"a": 1}}', "env.json: sources is not a table of texts"),
        ("status.json", '{"status": "splendid"}', "status.json: status is not a known status"),
        ("status.json", '{"status": "ok", "step": "20"}', "step is not a finite number"),
        ("status.json", '{"status": "ok", "step": NaN}', "step is not a finite number"),
        ("status.json", '{"status": "ok", "step": 1e999}', "step is not a finite number"),
        ("status.json", '{"status": "ok", "step": 1' + "0" * 40 + "}", "step is not a finite"),
        ("curve.jsonl", "", "curve.jsonl has no rows"),
        ("curve.jsonl", '{"step": 0}\n{"step": 0}\n', "curve.jsonl: line 2 repeats step 0"),
        ("curve.jsonl", '{"step": 0}\n\0\0\0\n', "curve.jsonl: line 2 is not JSON"),
        ("curve.jsonl", '{"step": 0}\n{"a": 1}\n', "curve.jsonl: line 2 has no step"),
        ("curve.jsonl", '{"step": 0, "test_loss": [1]}\n', "line 1: test_loss is not a finite"),
        ("curve.jsonl", '{"step": 0, "e": 1}\n{"step": 9, "e": "x"}\n', "line 2: e is not a fin"),
        ("curve.jsonl", '{"step": 0}\n{"step": 10}\n', "ends at step 10, the run at step 20"),
    ],
)  # fmt: skip
def test_damage_is_described(tmp_path, file, content, reason):
    record = spoilt(tmp_path, file, content)
    assert record.status == "damaged"
    assert reason in record.reason


def test_a_line_that_a_crash_interrupted_is_no_damage(tmp_path):
    record = spoilt(tmp_path, "curve.jsonl", b'{"step": 0}\n{"step": 20}\n{"step": 30, "te\xc3')
    assert record.damage is None
    assert [row["step"] for row in record.curve] == [0, 20]


def test_a_pipe_is_neither_waited_for_nor_opened(tmp_path):
    for file in ("config.json", "env.json", "status.json", "curve.jsonl", ".lock"):
        folder = whole_run(tmp_path / file, "adam", 0)
        (folder / file).unlink(missing_ok=True)
        os.mkfifo(folder / file)
        record = Record(RunFolder(folder))
        reasons = {".lock": None}
        assert record.damage == reasons.get(file, f"{file} is not a regular file")


def test_text_is_shown_without_what_a_terminal_would_obey(tmp_path):
    record = spoilt(
        tmp_path, "status.json", json.dumps({"status": "error", "reason": "\x1b]0;x\x07 \ud800é\n"})
    )
    assert record.reason == "\\u001b]0;x\\u0007 \\ud800é\n"


def test_a_folder_that_cannot_be_listed_is_a_row(tmp_path, monkeypatch):
    whole_run(tmp_path, "adam", 0)
    locked = whole_run(tmp_path, "sgd", 0)
    scandir = os.scandir

    def refusing(path):  # permissions do not stop the superuser
        if Path(path) == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert {run.path.name for run in find_runs(tmp_path)} == {"case-adam-4-0", "case-sgd-4-0"}
