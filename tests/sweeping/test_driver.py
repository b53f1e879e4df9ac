"""Sweeps: every run ends as a row, whatever happens to the run, the sweep or the machine."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from physopt.cli import main
from physopt.records.folder import RunFolder, find_runs
from physopt.sweeping import supervise
from physopt.sweeping.display import show_sweep
from physopt.sweeping.driver import survey, sweep
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.plan import planned_runs, read_request
from physopt.training import identity
from physopt.training.run import begin

HERE = Path(__file__).resolve().parent.parent
TINY, FAULTS = HERE / "tiny.py", HERE / "faults.py"
PROBLEM = f"problem={TINY}:Tiny"
KILLS = int(os.environ.get("PHYSOPT_KILLS", "6"))
"""Kills in the test of random kills; 20 take two minutes."""


@pytest.fixture(autouse=True)
def plug_ins_find_their_neighbours(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))


def plan(out, *words):
    return planned_runs(read_request([PROBLEM, "device=cpu", f"out={out}", *words]))


def carry_out(out, *words, **options):
    """Sweep in this process; return {rule: row}."""
    rows = sweep(plan(out, *words), SweepOptions(**{"workers": 2, "threads": 1, **options}))
    return {row.label.split()[1]: row for row in rows}


def start(out, *words):
    """Sweep in another process."""
    command = [sys.executable, "-m", "physopt", "sweep", PROBLEM, "device=cpu", f"out={out}"]
    return subprocess.Popen(
        [*command, "workers=2", "threads=1", *words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def numbers(out):
    """Return the curves without timings, and how each run ended."""
    return {
        folder.path.name: (
            folder.status()["status"],
            [
                {k: v for k, v in row.items() if not k.startswith(("t_", "compile_"))}
                for row in folder.curve()
            ],
        )
        for folder in find_runs(out)
    }


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def children(pid):
    """Return the ids of the child processes."""
    try:
        return [child.pid for child in psutil.Process(pid).children()]
    except psutil.NoSuchProcess:
        return []


def test_every_way_to_end_is_a_row(tmp_path):
    rules = ["Descent", "Choosy", "Explosive", "Broken"]
    faults = [f"{FAULTS}:{name}" for name in ("Hoarder", "Killed")]
    names = ",".join([*(f"{TINY}:{name}" for name in rules), *faults])
    rows = carry_out(tmp_path, f"rule={names}", retries=0)
    expected = {
        "Descent": "ok",
        "Choosy": "skipped",
        "Explosive": "diverged",
        "Broken": "error",
        "Hoarder": "oom",
        "Killed": "interrupted",
    }
    assert {name: row.status for name, row in rows.items()} == expected
    for name, row in rows.items():
        recorded = RunFolder(row.folder).status()
        assert (recorded["status"], recorded["reason"]) == (expected[name], row.reason)
        assert recorded["wall_seconds"] > 0
        assert RunFolder(row.folder).exists()
    assert RunFolder(rows["Descent"].folder).read("env.json")["cpu_threads"] == "1"
    assert "this rule is broken" in rows["Broken"].reason
    assert "Traceback" in (rows["Broken"].folder / "log.txt").read_text()
    assert rows["Killed"].reason == "killed by SIGKILL, not for memory"
    # the next sweep leaves runs with a result alone
    for retry_oom in (False, True):
        listed = survey(plan(tmp_path, f"rule={names}"), SweepOptions(retry_oom=retry_oom)).rows
        left = {row.label.split()[1] for row in listed if not row.ended}
        assert left == {"Broken", "Killed"} | ({"Hoarder"} if retry_oom else set())


def test_a_run_that_never_ends_is_killed_at_its_time_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "GRACE_SECONDS", 1.0)
    rows = carry_out(tmp_path, f"rule={FAULTS}:Stubborn", timeout=8.0)
    assert rows["Stubborn"].status == "timeout"
    assert rows["Stubborn"].reason == "wall-clock limit of 8 s"
    assert rows["Stubborn"].seconds < 60


def test_a_locked_run_is_not_started(tmp_path, capsys):
    (run,) = plan(tmp_path, f"rule={TINY}:Descent")
    folder = RunFolder(identity.folder(run, "cpu"))
    folder.path.mkdir(parents=True)
    with folder.lock.acquire():
        assert main(["run", *run.words()]) == 75
    assert "another process is working on this run" in capsys.readouterr().err


def test_damaged_and_foreign_records_are_ignored(tmp_path):
    runs = plan(tmp_path, f"rule={TINY}:Descent", "seed=0,1")
    place = identity.folder(runs[0], "cpu").parent
    contents = [
        "",
        "[1, 2]",
        "\x00" * 9,
        '{"status": "ok", "step": "many", "t_train": [], "wall_seconds": {}}',
        '{"status": "ok", "step": 1, "t_train": 1, "wall_seconds": "x"}',
    ]
    for number, text in enumerate(contents):
        for name in ("status.json", "config.json", "env.json"):
            (place / f"[red]{number}").mkdir(parents=True, exist_ok=True)
            (place / f"[red]{number}" / name).write_text(text)
    RunFolder(identity.folder(runs[0], "cpu")).write("status.json", {"status": "ok"})
    rows, _, _ = survey(runs, SweepOptions())
    assert [row.status for row in rows] == ["ok", "waiting"]
    assert rows[1].expected is None


def test_a_run_that_ends_before_its_first_record_has_a_row(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--no_such_flag")  # XLA aborts the process
    rows = carry_out(tmp_path, f"rule={TINY}:Descent", retries=0)
    assert rows["Descent"].status == "error"
    assert "no_such_flag" in (rows["Descent"].folder / "log.txt").read_text()
    assert RunFolder(rows["Descent"].folder).read("config.json")["seed"] == 0


SLOW = [
    *(f"rule={TINY}:Sleepy", "rule.seconds=0.02", "steps=60", "log_every=5", "seed=0,1,2"),
    "figures=true",  # drawing can be interrupted, too
]


def test_kills_at_random_moments_change_nothing(tmp_path):
    undisturbed = start(tmp_path / "a", *SLOW)
    random.seed(0)
    driver = start(tmp_path / "b", *SLOW)
    for _ in range(KILLS):
        time.sleep(random.uniform(0.5, 8.0))
        if driver.poll() is not None:
            driver = start(tmp_path / "b", *SLOW)
            continue
        victim = random.choice([driver.pid, *children(driver.pid)])
        with_it = children(driver.pid) if victim == driver.pid else []
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(victim, signal.SIGKILL)
        if victim == driver.pid:
            driver.wait()
            wait_until(lambda pids=with_it: not any(alive(pid) for pid in pids))
            driver = start(tmp_path / "b", *SLOW)
    driver.wait()
    assert start(tmp_path / "b", *SLOW).wait() == 0
    assert undisturbed.wait() == 0
    assert numbers(tmp_path / "b") == numbers(tmp_path / "a")
    assert len(numbers(tmp_path / "a")) == 3
    assert {status for status, _ in numbers(tmp_path / "a").values()} == {"ok"}


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_ctrl_c_stops_the_runs_and_the_same_sweep_resumes_them(tmp_path):
    words = [*SLOW[:2], "steps=400", "log_every=5", "seed=0,1,2"]
    driver = start(tmp_path, *words)

    def begun():
        return sum(any(row["step"] >= 5 for row in f.curve()) for f in find_runs(tmp_path)) == 2

    wait_until(begun)
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Traceback" not in out
    assert "2 interrupted" in out or "3 interrupted" in out
    steps = {f.path.name: f.status()["step"] for f in find_runs(tmp_path)}
    assert len(steps) == 2
    assert {f.status()["status"] for f in find_runs(tmp_path)} == {"interrupted"}
    assert not list(tmp_path.glob(".sweeps/*"))
    rows = survey(plan(tmp_path, *words), SweepOptions(workers=2)).rows
    assert [row.status for row in rows] == ["waiting"] * 3
    assert all(5 <= step < 400 for step in steps.values())


def test_two_sweeps_over_one_folder_make_each_run_once(tmp_path):
    notes = tmp_path / "notes"
    words = [f"rule={FAULTS}:Noted", f"rule.notes={notes}", "rule.learning_rate=0.1,0.2,0.3"]
    first, second = (start(tmp_path / "out", *words) for _ in range(2))
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert all("3 of 3 done (3 ok" in text for text in outputs)
    assert Counter(notes.read_text().split()) == {"0.1": 20, "0.2": 20, "0.3": 20}


def test_a_run_stopped_by_a_full_disk_resumes_once_there_is_space(tmp_path):
    full = tmp_path / "full"
    full.touch()
    words = [f"rule={FAULTS}:FullDisk", f"rule.full={full}"]
    rows = carry_out(tmp_path / "a", *words, retries=0)
    assert rows["FullDisk"].status == "interrupted"
    assert "File too large" in rows["FullDisk"].reason
    assert show_sweep(list(rows.values()), tmp_path / "a") == 130
    full.unlink()
    assert carry_out(tmp_path / "a", *words)["FullDisk"].status == "ok"
    begin(plan(tmp_path / "b", *words)[0])  # undisturbed
    assert numbers(tmp_path / "a") == numbers(tmp_path / "b")


def test_a_plan_counts_done_runs_and_estimates_the_rest(tmp_path, capsys):
    words = [PROBLEM, f"rule={TINY}:Descent", "device=cpu", f"out={tmp_path}"]
    assert main(["sweep", *words, "seed=0", "workers=1"]) == 0
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    assert main(["sweep", *words, "seed=0,1,2", "workers=1", "plan=true"]) == 0
    out = capsys.readouterr().out
    assert "3 runs: 1 done, 2 to do; about " in out
    assert out.count("python -m physopt run") == 2
    assert sorted(tmp_path.rglob("*")) == before, "a plan writes nothing"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["problem=exp", "rule=adam", "wrokers=2"], "did you mean workers?"),
        (["problem=exp", "rule=adam", "batch_sise=2"], "did you mean batch_size?"),
        (["problem=exp", "rule=adam", "workers=0"], "workers=0: must be at least 1"),
        (["problem=exp", "rule=adam", "device=tpu"], "device=tpu: no tpu is found"),
        (["problem=exp", "rule=adam", "executor=no.py"], "executor=no.py: FileNotFoundError"),
        (["problem=exp", "rule=adam", "out=a,b"], "out=a,b: a sweep has one folder"),
    ],
)
def test_a_wrong_sweep_runs_nothing(words, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
