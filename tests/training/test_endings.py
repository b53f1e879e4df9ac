"""Endings: a run ends as what it is, and no failure to print or to repeat loses a result."""

import contextlib
import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from analysis_records import write_run
from faults import Fault
from tiny import Descent, Tiny

import physopt
from physopt import analysis
from physopt.cli import main
from physopt.machine.output import discarding_lost_output
from physopt.options import OptionError
from physopt.records.folder import EARLIER, RunFolder, find_runs
from physopt.training.interrupt import Interrupt

HERE = Path(__file__).resolve().parent.parent
TINY = HERE / "tiny.py"


@dataclasses.dataclass(frozen=True)
class Switched(Fault):
    """Does once what a file says, after some updates."""

    switch: str = ""

    def act(self):
        file = Path(self.switch)
        if not file.exists():
            return
        action, count = file.read_text().split()
        if int(count):
            file.write_text(f"{action} {int(count) - 1}")
            return
        file.unlink()
        if action == "error":
            raise RuntimeError("switched off")
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def switch(tmp_path):
    return tmp_path / "switch"


def carry_out(tmp_path, switch, **settings):
    rule = Switched(switch=str(switch))
    settings = {"steps": 20, "log_every": 5, "out": tmp_path / "out", **settings}
    return physopt.run(Tiny(), rule, **settings)


def start(command, out, *words, **options):
    command = [sys.executable, "-m", "physopt", command, f"problem={TINY}:Tiny", *words]
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.Popen([*command, f"out={out}"], env=environment, text=True, **options)


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_reader_that_closes_the_pipe_ends_nothing(tmp_path, command):
    words = [f"rule={TINY}:Sleepy", "rule.seconds=0.05", "steps=100", "log_every=10"]
    process = start(
        command, tmp_path, *words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1
    )
    assert process.stdout is not None
    if command == "run":
        assert process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    (folder,) = find_runs(tmp_path)
    assert folder.status()["status"] == "ok"
    assert folder.curve()[-1]["step"] == 100


def test_the_exit_code_is_that_of_the_run_even_if_nobody_reads(tmp_path):
    words = [f"rule={TINY}:Explosive", "steps=20"]
    process = start("run", tmp_path, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 1
    assert find_runs(tmp_path)[0].status()["status"] == "diverged"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_output_on_a_full_disk_is_reported_and_the_run_recorded(tmp_path):
    with open("/dev/full", "w") as full:
        words = [f"rule={TINY}:Descent", "steps=5"]
        process = start("run", tmp_path, *words, stdout=full, stderr=subprocess.PIPE)
        errors = process.communicate()[1]
    assert process.returncode == 1
    assert "could be written: No space left on device" in errors
    assert "Traceback" not in errors
    assert find_runs(tmp_path)[0].status()["status"] == "ok"


def test_output_without_a_file_descriptor_may_fail_too():
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    with contextlib.redirect_stdout(Closed()), discarding_lost_output() as (out, _):
        print("one")
        print("two", flush=True)
    assert isinstance(out.error, BrokenPipeError)


@pytest.mark.parametrize("budget", [{"seconds": 1.0}, {"steps": 10}, {"steps": 99, "seconds": 1.0}])
def test_a_budget_below_what_is_spent_is_refused_and_changes_nothing(tmp_path, capsys, budget):
    run = physopt.run(Tiny(), Descent(), steps=20, out=tmp_path)
    RunFolder(run.folder).write_status("ok", "", t_train=8.0)
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    with pytest.raises(OptionError, match="already"):
        physopt.resume(run.folder, **budget)
    words = [f"{key}={value}" for key, value in budget.items()]
    assert main(["resume", str(run.folder), *words]) == 2
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert not out
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before


def test_the_budget_that_a_run_has_is_no_new_one(tmp_path):
    run = physopt.run(Tiny(), Descent(), steps=20, out=tmp_path)
    before = run.status
    assert physopt.resume(run.folder, steps=20).status == before


def test_a_run_stopped_before_its_first_evaluation_has_its_real_counts(tmp_path, capsys, switch):
    switch.write_text("stop 6")
    run = carry_out(tmp_path, switch, log_every=1000, steps=1000)
    status = run.status
    assert status["status"] == "interrupted"
    assert 7 <= status["step"] < 1000
    assert status["t_train"] > 0
    assert list(run.curve.step) == [0]
    capsys.readouterr()
    from physopt.commands.show import show_run

    assert show_run(run.folder) == 130
    shown = capsys.readouterr().out
    assert f"\n{status['step']} updates in " in shown
    main(["status", str(tmp_path)])
    assert f" {status['step']} " in capsys.readouterr().out


@pytest.mark.parametrize("action", ["error", "stop"])
@pytest.mark.parametrize("change", ["repeat", "extension"])
def test_a_failed_repeat_or_extension_leaves_the_result_in_scores(
    tmp_path, switch, capsys, action, change
):
    run = carry_out(tmp_path, switch)
    before = analysis.load(tmp_path / "out")
    switch.write_text(f"{action} 7")
    with contextlib.suppress(RuntimeError, ValueError):
        if change == "repeat":
            carry_out(tmp_path, switch, force=True)
        else:
            physopt.resume(run.folder, steps=40)
    assert run.status["status"] == ("error" if action == "error" else "interrupted")
    during = analysis.load(tmp_path / "out")
    assert during.equals(before)
    assert len(analysis.final_errors(during)) == 1
    main(["status", str(tmp_path)])
    assert run.status["status"] in capsys.readouterr().out, "what happened last is shown"
    # a second failure does not replace them either
    switch.write_text(f"{action} 0")
    with contextlib.suppress(RuntimeError, ValueError):
        carry_out(tmp_path, switch, force=True)
    assert analysis.load(tmp_path / "out").equals(before)
    assert not switch.exists()
    physopt.resume(run.folder)
    assert run.status["status"] == "ok"
    assert not (run.folder / EARLIER).exists()
    after = analysis.load(tmp_path / "out")
    assert list(after.step)[-1] == 20
    assert list(after.finished)[-1] >= list(before.finished)[-1]


@pytest.mark.parametrize("status", ["error", "oom", "timeout", "interrupted"])
@pytest.mark.parametrize("failed_is_newer", [True, False])
def test_scores_prefer_a_finished_run_to_a_newer_failure(tmp_path, status, failed_is_newer):
    days = ("2026-01-02", "2026-01-01")[:: 1 if failed_is_newer else -1]
    for name, ending, day in (("new", status, days[0]), ("old", "ok", days[1])):
        errors = [1.0, 0.5] if ending == "ok" else [1.0, 0.9]
        write_run(tmp_path, "a", "adam", 0, errors, status=ending, name=name, finished=day)
    (row,) = analysis.final_errors(analysis.load(tmp_path)).itertuples()
    assert (row.median, row.failed) == (0.5, 0)


def test_of_two_finished_runs_the_newer_one_counts_and_of_two_failures_too(tmp_path):
    for status in ("ok", "error"):
        for name, day, error in (("a", "2026-01-02", 0.7), ("b", "2026-01-01", 0.5)):
            out = tmp_path / status
            write_run(out, "a", "adam", 0, [1.0, error], status=status, name=name, finished=day)
        frame = analysis.comparable(analysis.load(tmp_path / status))
        assert set(frame.run_id) == {"a"}


def test_a_kill_between_two_steps_of_a_repeat_loses_no_result(tmp_path):
    run = physopt.run(Tiny(), Descent(), steps=20, out=tmp_path)
    before = analysis.load(tmp_path)
    folder = RunFolder(run.folder)
    shutil.copytree(run.folder, run.folder / ".earlier")  # killed while the records are copied
    assert analysis.load(tmp_path).equals(before)
    assert len(find_runs(tmp_path)) == 1
    folder.set_aside()
    assert analysis.load(tmp_path).equals(before)
    (run.folder / "status.json").unlink()  # killed while they are removed
    assert analysis.load(tmp_path).equals(before)
    folder.clear()
    assert folder.results().path == run.folder / EARLIER


def test_a_repeat_that_finds_no_room_for_the_earlier_records_changes_nothing(tmp_path, monkeypatch):
    run = physopt.run(Tiny(), Descent(), steps=20, out=tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(OSError, match="No space left"):
            physopt.run(Tiny(), Descent(), steps=20, out=tmp_path, force=True)
    assert run.status["status"] == "ok"
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_a_closed_terminal_interrupts_a_run_unless_it_is_ignored():
    previous = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.signal_name == "SIGHUP"
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.requested()
    finally:
        signal.signal(signal.SIGHUP, previous)
