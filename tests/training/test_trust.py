"""Trust: the records of a folder decide about no code; what the user names or imports runs."""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from analysis_records import write_run
from tiny import Descent, Tiny

import physopt
from physopt import analysis
from physopt.cli import main
from physopt.config.registry import Untrusted, find, find_recorded
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.status import End
from physopt.sweeping import supervise
from physopt.sweeping.driver import sweep
from physopt.sweeping.options import SweepOptions
from physopt.sweeping.plan import planned_runs, read_request

HERE = Path(__file__).resolve().parents[1]

EVIL = """
from pathlib import Path
Path({effect!r}).touch()

class Evil:
    def __init__(self, **options):
        Path({effect!r}).touch()
"""
PLUGIN = """
from tiny import Descent, Tiny

class Mine(Tiny):
    pass

class MyRule(Descent):
    pass
"""


HOSTILE = (
    ("subprocess:Popen", {"args": "touch EFFECT", "shell": True}),
    ("os:system", {"command": "touch EFFECT"}),
    ("pathlib:Path", {}),
    ("FOLDER/evil.py:Evil", {}),
    ("evil_module:Evil", {}),
    ("../../code/evil.py:Evil", {}),
)


def foreign(tmp_path, kind, name, options, seed=0):
    """Return the folder of a run whose records name a class.

    `effect` below tmp_path is made if its code is executed.
    """
    effect, folder = tmp_path / "effect", tmp_path / "code"
    folder.mkdir(exist_ok=True)
    for file in ("evil.py", "evil_module.py"):
        (folder / file).write_text(EVIL.format(effect=str(effect)))
    run = write_run(tmp_path / "results", "ldft2d", "adam", seed, [1.0, 0.5])
    config = json.loads((run / "config.json").read_text())
    config[kind] = {"name": name, **options}
    text = json.dumps(config).replace("EFFECT", str(effect)).replace("FOLDER", str(folder))
    (run / "config.json").write_text(text)
    (run / "checkpoints" / "20").mkdir(parents=True)
    return run


def test_records_execute_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.chdir(tmp_path)
    cases = [(kind, *case) for kind in ("problem", "rule") for case in HOSTILE]
    runs = [foreign(tmp_path, *case, seed=seed) for seed, case in enumerate(cases)]
    results, other = (str(tmp_path / name) for name in ("results", "other"))
    for folder in (results, other):
        write_run(Path(folder), "ldft2d", "adam", 99, [1.0, 0.5])
    assert main(["status", results]) == 0
    assert main(["score", results]) == 0
    assert main(["report", results]) == 0
    assert main(["compare", results, other]) == 0
    assert analysis.load(results)["folder"].nunique() == len(runs) + 1
    for (kind, *_), run in zip(cases, runs, strict=True):
        given = ["problem=ldft2d", "rule=adam", f"start={run}", f"out={tmp_path / 'out'}"]
        commands = [["resume", str(run)], ["design", str(run), "target.csv"]]
        # The rule of a run that gives its parameters is not needed.
        commands += [["run", *given]] if kind == "problem" else []
        for words in commands:
            capsys.readouterr()
            assert main(words) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert error.startswith(f"physopt: {kind}=")
        with pytest.raises(OptionError):
            physopt.load(run)
    assert not (tmp_path / "effect").exists()
    assert not any("evil" in module for module in sys.modules)


def test_the_record_cannot_trust_itself(tmp_path):
    run, effect = foreign(tmp_path, "problem", "FOLDER/evil.py:Evil", {}), tmp_path / "effect"
    content = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**content, "trust": True}))
    with pytest.raises(Untrusted):
        physopt.load(run)
    assert not effect.exists()
    with pytest.raises(OptionError, match=r"is no problem: not a subclass of physopt.Problem"):
        physopt.load(run, trust=True)
    assert effect.exists(), "trusted code is imported; its class is called only if it is a problem"


def test_a_name_is_checked_before_it_is_called(tmp_path, capsys):
    for name in ("subprocess:Popen", "pathlib:Path", f"{HERE}/tiny.py:Descent"):
        assert main(["run", f"problem={name}", "rule=adam", f"out={tmp_path}"]) == 2
        assert "is no problem: not a subclass of physopt.Problem" in capsys.readouterr().err
    assert main(["check", "pathlib:Path"]) == 2
    assert "is neither a problem nor a rule" in capsys.readouterr().err


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A file with a problem and a rule, and a run of both, made in another process."""
    tmp_path = tmp_path_factory.mktemp("plugin")
    path = tmp_path / "own.py"
    path.write_text(PLUGIN)
    words = [f"problem={path}:Mine", f"rule={path}:MyRule", "steps=4", f"out={tmp_path / 'out'}"]
    said = command("run", *words)
    assert said.returncode == 0, said.stderr
    (folder,) = (tmp_path / "out" / "Mine" / "MyRule").iterdir()
    assert f"resume {folder} steps=8 trust=true" in said.stdout
    return path, folder


def command(*words):
    words = [sys.executable, "-m", "physopt", *words]
    return subprocess.run(words, capture_output=True, text=True, check=False, env=environment())


def test_a_run_of_a_plug_in_is_resumed_as_the_message_says(plugin):
    path, folder = plugin
    refused = command("resume", str(folder), "steps=8")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert f"problem={path}:Mine: is code that a record names, not you" in refused.stderr
    typed = shlex.split(refused.stderr.partition(": python -m physopt ")[2])
    assert typed == ["resume", str(folder), "steps=8", "trust=true"]
    assert command(*typed).returncode == 0
    assert RunFolder(folder).status()["step"] == 8
    assert "trust" not in json.loads((folder / "config.json").read_text())


def copied(plugin, tmp_path):
    """Copy a plug-in and its run, so that this process has not imported it yet."""
    path, folder = shutil.copy(plugin[0], tmp_path), tmp_path / "run"
    shutil.copytree(plugin[1], folder)
    text = (folder / "config.json").read_text().replace(str(plugin[0]), str(path))
    (folder / "config.json").write_text(text)
    return Path(path), folder


def test_what_the_user_has_named_or_imported_may_be_named_by_a_record(plugin, tmp_path):
    path, folder = copied(plugin, tmp_path)
    with pytest.raises(Untrusted):
        physopt.load(folder)
    find("rule", f"{path}:MyRule")  # as on the command line
    assert type(physopt.load(folder).config.problem).__name__ == "Mine"
    path.write_text(PLUGIN.replace("pass", "gain = 2"))
    mine: Any = physopt.load(folder).config.problem
    assert mine.gain == 2, "an edited plug-in is imported anew"
    assert find_recorded("problem", "tiny:Tiny") is Tiny
    assert find_recorded("rule", "physopt.optimizers.spectral:SpectralPower")
    assert find_recorded("problem", f"{HERE}/tiny.py:Tiny").__name__ == "Tiny"
    with pytest.raises(Untrusted):
        find_recorded("problem", shutil.__file__ + ":Error")
    with pytest.raises(OptionError, match="unknown rule; did you mean adam"):
        find_recorded("rule", "adm")


def test_a_start_may_be_trusted(plugin, tmp_path):
    path, folder = copied(plugin, tmp_path)
    given = {"start": folder, "steps": 2, "out": tmp_path / "more"}
    with pytest.raises(Untrusted) as caught:
        physopt.run(Tiny(), Descent(), **given)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "more").exists()
    run = physopt.run(Tiny(), Descent(), trust=True, **given)
    assert run.status["status"] == "ok"
    assert "trust" not in json.loads((run.folder / "config.json").read_text())
    # The plug-in is imported now, by the user's choice; the run is the same one.
    assert physopt.run(Tiny(), Descent(), **given).folder == run.folder


def test_a_record_on_standard_input_needs_its_names_typed(plugin, tmp_path, monkeypatch, capsys):
    path, folder = copied(plugin, tmp_path)

    def given(*words):
        text = (folder / "config.json").read_text().replace(str(plugin[0].parent), str(tmp_path))
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return main(["run", "record=-", "force=true", *words])

    assert given() == 2
    assert f"problem={path}:Mine: is code that a record names" in capsys.readouterr().err
    assert given(f"problem={path}:Mine", f"rule={path}:MyRule") == 0


def environment():
    """Return the environment of a process that finds physopt and the tests' modules."""
    folders = [str(Path(physopt.__file__).parents[1]), str(HERE)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}


READ_ONLY = textwrap.dedent("""
    import ctypes, os, sys
    if os.geteuid() == 0:  # the superuser reads and writes everything
        header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, data) == 0
    results, run, *_ = sys.argv[1:]
    try:
        open(os.path.join(run, "new"), "w")
    except PermissionError:
        pass
    else:
        raise SystemExit("the folder is not read-only")
    import numpy as np
    import physopt
    from physopt.cli import main
    from tiny import Descent, Tiny
    for words in (
        ["status", results], ["score", results], ["report", results],
        ["compare", results, run, "out=compared.png"], ["sweep", "problem=ldft2d", "rule=adam",
        f"out={results}", "plan=true"],
    ):
        code = main(words)
        assert code == (2 if words[0] == "compare" else 0), words
    assert physopt.load(run).predict(np.ones((2, 3))).shape == (2, 3)
    assert len(physopt.load(run).curve) > 1
    started = physopt.run(Tiny(), Descent(), start=run, steps=2, out="more")
    assert started.status["status"] == "ok"
""")


def test_a_read_only_folder_is_read_by_all_that_only_reads(tmp_path):
    results = tmp_path / "results"
    run = physopt.run(Tiny(), Descent(), steps=4, out=results).folder
    running = physopt.run(Tiny(), Descent(), steps=4, seed=1, out=results).folder
    RunFolder(running).write_status("running", "")
    paths = [results, *results.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in paths}
    (tmp_path / "work").mkdir()
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(results), str(run)], cwd=tmp_path / "work",
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert done.returncode == 0, done.stderr
    assert "interrupted" in done.stdout, "a run that no process works on"
    assert (tmp_path / "work" / "report.html").is_file(), "beside the folder that takes no file"
    assert {path: path.stat().st_mtime_ns for path in [results, *results.rglob("*")]} == before


@pytest.mark.parametrize("trust", [False, True])
def test_a_sweep_names_the_classes_of_its_runs_to_them(tmp_path, monkeypatch, trust):
    given = []

    class Child:
        def __init__(self, arguments, *_):
            given.extend(arguments)

        def write(self, text, *, close=False):
            assert "trust" not in json.loads(text)

        def ended_within(self, seconds):
            return True

        def end(self, stopped_by):
            return End(1, None, "stopped", None)

    monkeypatch.setattr(supervise, "Child", Child)
    words = [f"problem={HERE}/tiny.py:Tiny", "rule=adam", "device=cpu", f"out={tmp_path}"]
    words += [f"trust={str(trust).lower()}"]
    sweep(planned_runs(read_request(words)), SweepOptions(workers=1, retries=0))
    expected = ["physopt", "run", "record=-", *words[:2], "debug=true"]
    assert given == expected + (["trust=true"] if trust else [])
