"""The accelerator benchmark: its rows and tables, its recorded results, and faults of a worker."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "tests" / "benchmarks"
RESULTS = sorted((ROOT / "runs" / "accelerator").glob("*.json"))

sys.path.append(str(BENCHMARKS))

from accelerator import supervisor, tables  # noqa: E402
from accelerator.rows import FAILED, NOT_MEASURED, Row, without_paths  # noqa: E402

MACHINE = {"device_kind": "X", "platform": "gpu"}


def result(*rows):
    return {"machine": MACHINE, "rows": [row.to_json() for row in rows]}


def statuses(content):
    return [Row.from_json(row).status for row in content["rows"]]


def test_a_rate_meets_a_goal_from_above_and_a_time_or_an_error_from_below():
    assert Row("a", "isotherms", "/s", 12.0, 10.0).met
    assert not Row("a", "isotherms", "/s", 8.0, 10.0).met
    assert Row("a", "updates", "ms", 8.0, 10.0).met
    assert not Row("a", "updates", "ms", 12.0, 10.0).met
    assert not Row("a", "correctness", "error", math.nan, 10.0).met
    assert Row("a", "correctness", "error", 0.0, 0.0).met
    assert Row("a", "updates", "ms", 8.0).met is None


@pytest.mark.parametrize("value", [0.0, 1.23456, math.nan, math.inf])
def test_a_row_survives_json(value):
    row = Row("a", "updates", "ms", value, goal=0.0, low=value, high=value, repeats=3)
    again = Row.from_json(json.loads(json.dumps(row.to_json(), allow_nan=False)))
    assert repr(again) == repr(row).replace("1.23456", "1.2346")


def test_the_table_has_goals_failures_and_a_summary():
    text = tables.markdown(
        result(
            Row("fast", "isotherms", "/s", 2_000_000.0, 1_000_000.0),
            Row("slow", "updates", "ms", 3.0, 1.0, compile_seconds=2.0),
            Row("broken", "updates", status=FAILED, message="no memory"),
            Row("late", "commands", status=NOT_MEASURED),
            Row("exact", "correctness", "error", 1e-5, 1e-4),
        )
    )
    assert "| fast | 1,000,000/s | 2,000,000/s |  |  |" in text
    assert "| slow | 1 ms | 3 ms **not met** |  | 2 s |" in text
    assert "| broken |  | failed: no memory |" in text
    assert "1 of 1 checks passed, 1 of 2 goals met, 1 measurements failed, 1 not made." in text


def test_the_comparison_counts_how_many_times_faster_each_row_is():
    ours = result(Row("rate", "isotherms", "/s", 100.0), Row("time", "updates", "ms", 5.0))
    theirs = result(
        Row("rate", "isotherms", "/s", 10.0),
        Row("time", "updates", "ms", 20.0),
        Row("other", "updates", "ms", 1.0),
    )
    lines = tables.comparison(ours, theirs).splitlines()[2:]
    assert lines == ["| rate | 10/s | 100/s | 10 |", "| time | 20 ms | 5 ms | 4 |"]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_recorded_result_has_its_table_and_no_folders(path):
    recorded = json.loads(path.read_text(encoding="utf-8"))
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith(tables.markdown(recorded))
    assert {"device_kind", "jax", "commit"} <= recorded["machine"].keys()
    for row in recorded["rows"]:
        assert without_paths(row.get("message", "")) == row.get("message", "")


def test_messages_lose_their_folders():
    text = "File '/home/someone/lib/python3.12/jax.py', 3.5/s of and/or\n  /s"
    assert without_paths(text) == "File 'jax.py', 3.5/s of and/or /s"


WORKER = """
import json, os, sys, time
done = json.loads(sys.argv[2])["done"]
print(json.dumps({"machine": {"device_kind": "X", "platform": "gpu"},
                  "cases": [[name, "updates"] for name in "abcd"]}), flush=True)
for name in "abcd":
    if name in done:
        continue
    print(json.dumps({"begin": name}), flush=True)
    if name == "b":
        os._exit(7)
    if name == "c":
        time.sleep(60)
    print(json.dumps({"rows": [{"name": name, "section": "updates", "value": 1.0}]}), flush=True)
"""


def test_a_crash_and_a_hang_are_rows_and_the_others_are_measured(monkeypatch):
    monkeypatch.setattr(supervisor, "PROGRAM", WORKER)
    reports = []
    supervisor.Supervisor(seconds=60, limit=1, report=reports.append).run(None, [])
    a, b, c, d = (Row.from_json(content) for content in reports[-1]["rows"])
    assert a.value == d.value == 1.0
    assert (b.status, b.message) == (FAILED, "the process ended with exit code 7")
    assert (c.status, c.message) == (FAILED, "stopped after 1 s")
    assert statuses(reports[0])[1:] == [NOT_MEASURED] * 3, (
        "a result is written after every measurement"
    )


def test_what_does_not_fit_into_the_time_is_listed_as_not_measured(monkeypatch):
    monkeypatch.setattr(supervisor, "PROGRAM", WORKER.replace('"b"', '""'))
    reports, start = [], time.monotonic()
    supervisor.Supervisor(seconds=2, limit=50, report=reports.append).run(None, [])
    assert time.monotonic() - start < 10
    assert statuses(reports[-1])[2:] == [NOT_MEASURED] * 2


def test_one_section_runs_on_a_cpu(tmp_path):
    file = tmp_path / "out" / "cpu.json"
    command = [sys.executable, str(BENCHMARKS / "bench_accelerator.py"), "--out", str(file)]
    done = subprocess.run(
        [*command, "--only", "cholesky float64, n = 256;no such row"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    measured = json.loads(file.read_text(encoding="utf-8"))
    (row,) = (Row.from_json(content) for content in measured["rows"])
    assert row.value is not None
    assert 0 < row.low <= row.value <= row.high  # type: ignore[operator]
    assert file.with_suffix(".md").read_text(encoding="utf-8") == tables.markdown(measured)
    assert "cholesky float64, n = 256" in done.stdout
    assert str(tmp_path) not in file.read_text(encoding="utf-8")
