"""A disk that takes no more records interrupts a run; it is no failure of the rule."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.figure
import orbax.checkpoint as ocp
import pytest
from tiny import Descent, Tiny

import physopt
from physopt import analysis
from physopt.cli import main
from physopt.records.checkpoints import Checkpoints
from physopt.records.folder import RunFolder
from physopt.records.status import failure_status
from physopt.sweeping.supervise import End, Ending, record_ending

HERE = Path(__file__).resolve().parent.parent

TENSORSTORE = (
    'RESOURCE_EXHAUSTED: Error writing "1/0.0" in OCDBT database at local file "/x/": Failed to '
    "write 1343820 bytes to file 19: {} [os_error_code='{}']"
)
"""What TensorStore says of a full disk; its RESOURCE_EXHAUSTED is also XLA's for memory."""


def operating_system(code):
    return OSError(code, os.strerror(code), "file")


def tensorstore(code):
    return ValueError(TENSORSTORE.format(os.strerror(code), code))


WRITERS = {
    "checkpoint": (ocp.CheckpointManager, "save", tensorstore),
    "checkpoint's folder": (ocp.CheckpointManager, "save", operating_system),
    "curve": (RunFolder, "append", operating_system),
    "records": (RunFolder, "write", operating_system),
    "status": (RunFolder, "write_status", operating_system),
    "figure": (matplotlib.figure.Figure, "savefig", operating_system),
}

BEFORE = {"curve": 2, "records": 3, "status": 2}
"""Calls that succeed before the disk is full."""


def numbers(folder):
    timings = ("t_", "compile_")
    rows = RunFolder(folder).curve()
    return [{k: v for k, v in row.items() if not k.startswith(timings)} for row in rows]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return numbers(
        physopt.run(Tiny(), Descent(), out=tmp_path_factory.mktemp("undisturbed")).folder
    )


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_disk_interrupts_a_run_that_goes_on_with_room(
    tmp_path, monkeypatch, undisturbed, writer, code
):
    owner, name, error = WRITERS[writer]
    write, calls = getattr(owner, name), []

    def fails(*arguments, **options):
        calls.append(arguments)
        # The status may still be written, or not: both have to be understood.
        if len(calls) > BEFORE.get(writer, 0):
            raise error(code)
        return write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fails)
        with pytest.raises(OSError, match=os.strerror(code)):
            physopt.run(Tiny(), Descent(), out=tmp_path)
    (path,) = tmp_path.glob("*/*/*")
    status = RunFolder(path).status()
    assert status["status"] == "interrupted"
    if writer not in ("records", "status"):
        assert os.strerror(code) in status["reason"]
    frame = analysis.load(tmp_path)
    assert analysis.comparable(frame).empty, "it counts neither as a result nor as a failure"
    assert main(["run", f"problem={HERE / 'tiny.py'}:Tiny", "rule=adam", f"out={tmp_path}"]) == 0
    again = physopt.run(Tiny(), Descent(), out=tmp_path)
    assert again.folder == path
    assert again.status["status"] == "ok"
    assert numbers(path) == undisturbed


def test_a_command_says_in_one_line_that_the_disk_is_full(tmp_path):
    (full := tmp_path / "full").touch()
    words = [f"problem={HERE / 'tiny.py'}:Tiny", f"rule={HERE / 'faults.py'}:FullDisk"]
    command = [sys.executable, "-m", "physopt", "run", *words, f"rule.full={full}"]
    environment = {**os.environ, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [*command, f"out={tmp_path / 'out'}"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "File too large" in line
    assert "room" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (TENSORSTORE.format("No space left on device", 28), "interrupted"),
        ("OSError: [Errno 122] Disk quota exceeded: 'x'", "interrupted"),
        ("OSError: [Errno 5] Input/output error", "interrupted"),
        ("XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes", "oom"),
        ("MemoryError: ", "oom"),
        ("OSError: [Errno 12] Cannot allocate memory", "oom"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'x'", "error"),
    ],
)
def test_what_an_exception_says_of_a_run(text, status):
    assert failure_status(text) == status


@pytest.mark.parametrize("status", ["error", "ok"])
def test_a_supervisor_that_cannot_record_an_end_has_not_seen_a_failure(
    tmp_path, monkeypatch, status
):
    def full(*_, **__):
        raise operating_system(errno.ENOSPC)

    monkeypatch.setattr(RunFolder, "write", full)
    ending = record_ending(Ending(status, "why"), RunFolder(tmp_path), {}, End(1, None, "", None))
    assert ending.status == ("interrupted" if status == "error" else "ok")


@pytest.mark.parametrize(("text", "printed"), [("Event loop is closed", False), ("other", True)])
def test_only_what_follows_a_failed_save_is_not_printed(monkeypatch, capsys, text, printed):
    class Raising:
        def __del__(self):
            raise RuntimeError(text)

    def failing(*_, **__):
        raise tensorstore(errno.ENOSPC)

    monkeypatch.setattr(ocp.CheckpointManager, "save", failing)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # restored after the test
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        with pytest.raises(OSError, match="No space left"):
            checkpoints.save(1, (), (), {})
        checkpoints.close()
    del checkpoints
    Raising()
    assert (text in capsys.readouterr().err) == printed
