"""Threads: a run limits those of linear algebra, and records how busy the machine was."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from tiny import Descent, Tiny

import physopt
from physopt import analysis
from physopt.cli import main
from physopt.machine import threads
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.training.display import Display

HERE = Path(__file__).resolve().parent.parent
COUNTS = []


@dataclasses.dataclass(frozen=True)
class Counting(Descent):
    """Notes how many threads BLAS has during an update."""

    def update(self, objective, params, state, batch, key):
        updates, state, info = super().update(objective, params, state, batch, key)

        def count(loss):
            COUNTS.append(threads.blas_threads())
            return loss

        return (
            updates,
            state,
            {**info, "loss": jax.pure_callback(count, info["loss"], info["loss"])},
        )


class Remarks(Display):
    """Keeps the remarks."""

    def __init__(self):
        self.remarks = []

    def remark(self, text):
        self.remarks.append(text)


@pytest.fixture
def three_threads():
    """BLAS with three threads, as on a machine of three cores."""
    with threadpool_limits(limits=3, user_api="blas"):
        yield


@pytest.mark.parametrize(("setting", "expected"), [(None, 1), (2, 2)])
def test_a_run_limits_the_threads_of_linear_algebra(tmp_path, three_threads, setting, expected):
    assert threads.blas_threads() == 3
    COUNTS.clear()
    run = physopt.run(Tiny(), Counting(), steps=5, threads=setting, out=tmp_path)
    assert set(COUNTS) == {expected}
    assert threads.blas_threads() == 3, "the limit ends with the run"
    assert RunFolder(run.folder).read("env.json")["blas_threads"] == expected


def test_the_lapack_that_jax_calls_is_among_the_limited(three_threads):
    with threads.blas_limited(1):
        jax.block_until_ready(jnp.linalg.eigh(jnp.eye(3)))
        pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert any("scipy" in pool["filepath"] for pool in pools)
    assert {pool["num_threads"] for pool in pools} == {1}


def test_threads_do_not_name_a_run_but_are_reported(tmp_path):
    first = physopt.run(Tiny(), Descent(), steps=5, out=tmp_path)
    display = Remarks()
    again = physopt.run(Tiny(), Descent(), steps=5, threads=2, out=tmp_path, display=display)
    assert again.folder == first.folder
    assert any("blas_threads 1 (now 2)" in text for text in display.remarks)
    with pytest.raises(OptionError, match="threads"):
        physopt.run(Tiny(), Descent(), steps=5, threads=0, out=tmp_path)


def test_the_command_limits_the_threads_of_xla(tmp_path):
    words = [f"problem={HERE / 'tiny.py'}:Tiny", f"rule={HERE / 'tiny.py'}:Descent", "steps=2"]
    program = (
        "import sys; from physopt.cli import main; from pathlib import Path; code = main();"
        "names = [p.read_text() for p in Path('/proc/self/task').glob('*/comm')];"
        "print('pool', sum('XLAEigen' in name for name in names)); sys.exit(code)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "NPROC"}
    environment["PYTHONPATH"] = f"{HERE}:{environment.get('PYTHONPATH', '')}"
    command = [sys.executable, "-c", program, "run", *words, f"out={tmp_path}", "threads=3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if Path("/proc/self/task").exists():
        assert done.stdout.splitlines()[-1] == "pool 3"
    (record,) = tmp_path.rglob("env.json")
    assert RunFolder(record.parent).read("env.json")["cpu_threads"] == "3"


@pytest.mark.parametrize("load", [0.5, 9.5])
def test_the_load_is_recorded_and_shown(tmp_path, monkeypatch, capsys, load):
    monkeypatch.setattr(threads, "load_average", lambda: load)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    display = Remarks()
    run = physopt.run(Tiny(), Descent(), steps=5, out=tmp_path, display=display)
    status = run.status
    assert (status["load_start"], status["load_end"], status["load_others"]) == (load, load, load)
    busy = load > 2
    assert any("not be reliable: load 9.5 on 2 cores" in t for t in display.remarks) == busy
    assert main(["status", str(tmp_path)]) == 0
    shown = "5 steps made (unreliable timing: load 9.5 on 2 cores)" in capsys.readouterr().out
    assert shown == busy
    notes = analysis.comparable(analysis.load(tmp_path)).attrs["notes"]
    assert any("Timings are not reliable" in note for note in notes) == busy


def test_a_resumed_run_keeps_the_load_of_its_first_part(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads, "load_average", lambda: 9.5)
    run = physopt.run(Tiny(), Descent(), steps=5, out=tmp_path)
    monkeypatch.setattr(threads, "load_average", lambda: 0.5)
    physopt.resume(run.folder, steps=10)
    assert run.status["load_others"] == 9.5
    assert "load 9.5" in run.status["timing"]
    physopt.run(Tiny(), Descent(), steps=5, out=tmp_path, force=True)
    assert run.status["timing"] == "", "a repeat is timed anew"


def test_runs_timed_with_different_numbers_of_threads_are_named(tmp_path):
    for seed, count in ((0, 1), (1, 2)):
        physopt.run(Tiny(), Descent(), steps=5, seed=seed, threads=count, out=tmp_path)
    notes = analysis.comparable(analysis.load(tmp_path)).attrs["notes"]
    assert "Runs were timed with different numbers of BLAS threads: 1, 2." in notes
