"""Identity in records: what a finished, resumed or lost run reports about its source."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import jax
import pytest
import tiny
from tiny import Descent
from training.identity_cases import FILES, MINE, mine, run_id, written

import physopt
from physopt.config.registry import find
from physopt.options import OptionError
from physopt.records.folder import RunFolder

PACKAGE = Path(physopt.__file__).parent


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    path = written(folder / "plugin")
    return path, physopt.run(mine(path), Descent(), steps=5, out=folder / "out")


def again(path, run, **given):
    return physopt.run(mine(path), Descent(), steps=5, out=run.folder.parents[2], **given)


def test_a_finished_run_reports_what_is_unchanged(finished, caplog):
    path, run = finished
    before = run.status["time"]
    assert again(path, run).status["time"] == before
    assert f"This run is finished already: {run.folder}" in caplog.text
    files = ", ".join([*sorted(FILES), "tiny.py", "physopt"])
    assert f"Unchanged: settings, source of {files}, jax {jax.__version__}, " in caplog.text
    assert "Made with" not in caplog.text


def test_a_finished_run_reports_changed_library_versions(finished, caplog):
    path, run = finished
    records = RunFolder(run.folder)
    recorded = records.read("env.json")
    try:
        records.write("env.json", {**recorded, "jax": "0.9.9", "optax": "0.1"})
        assert again(path, run).status["time"] == run.status["time"]
    finally:
        records.write("env.json", recorded)
    versions = (recorded["jax"], recorded["optax"])
    assert f"Made with jax 0.9.9 (now {versions[0]}), optax 0.1 (now {versions[1]})" in caplog.text
    assert f", jax {versions[0]}" not in caplog.text


def test_a_run_keeps_a_copy_of_its_source(finished):
    path, run = finished
    copies = {p.relative_to(run.folder / "source").as_posix(): p.read_text()
              for p in (run.folder / "source").rglob("*.py")}  # fmt: skip
    assert {name: copies[name] for name in FILES} == FILES
    environment = RunFolder(run.folder).read("env.json")
    assert set(environment["sources"]) == {*copies, "physopt"}
    assert environment["key_implementation"] == "threefry2x32"
    assert environment["threefry_partitionable"] is True
    assert environment["enable_x64"] is False
    assert "matmul_precision" in environment
    assert json.loads((run.folder / "config.json").read_text())["problem"]["name"] == f"{path}:Mine"


def test_a_resumed_run_reports_changed_source(tmp_path, caplog):
    path = written(tmp_path / "plugin")
    run = physopt.run(mine(path), Descent(), steps=5, out=tmp_path / "out")
    before = RunFolder(run.folder).read("env.json")["sources"]["late.py"]
    (path.parent / "late.py").write_text("GAIN = 3\n")
    caplog.clear()
    run = physopt.resume(run.folder, steps=10)
    environment = RunFolder(run.folder).read("env.json")
    now = environment["sources"]["late.py"]
    assert f"The run is continued with source of late.py {before} (now {now})" in caplog.text
    assert environment["earlier"] == [{"source of late.py": before}]


def test_a_run_whose_plugin_is_gone_names_the_copy_of_its_source(finished, tmp_path):
    _, run = finished
    record = RunFolder(run.folder).read("config.json")
    record["problem"]["name"] = f"{tmp_path}/gone.py:Mine"
    RunFolder(tmp_path / "run").write("config.json", record)
    RunFolder(tmp_path / "run").write_text("source/gone.py", MINE)
    with pytest.raises(OptionError, match=r"no file .*the source that ran is kept in .*source"):
        physopt.resume(tmp_path / "run", trust=True)


def test_a_class_without_source_is_rerun_with_its_reason(tmp_path, caplog):
    scope: dict[str, Any] = {"__name__": "nowhere"}
    exec(MINE.replace("import solver", "").replace("solver.gain() * late.GAIN *", "")
         .replace("import late", ""), scope)  # fmt: skip
    written_at = []
    for _ in range(2):
        caplog.clear()
        run = physopt.run(scope["Mine"](), Descent(), steps=5, out=tmp_path)
        written_at.append((run.folder / "curve.jsonl").stat().st_mtime_ns)
        assert "made anew" in caplog.text
        assert "the source of Mine.simulate cannot be read" in caplog.text
        assert "finished already" not in caplog.text
    assert written_at[0] < written_at[1]


SCRIPT = MINE.replace("import solver", "import physopt").replace("solver.gain() * late.GAIN", "1.0")
SCRIPT = SCRIPT.replace("        import late\n", "") + textwrap.dedent("""
    if __name__ == "__main__":
        import sys
        from tiny import Descent
        print(physopt.run(Mine(), Descent(), steps=5, out=sys.argv[1]).folder)
""")


def run_script(path, out):
    folders = [str(PACKAGE.parent), str(Path(tiny.__file__).parent)]
    done = subprocess.run(
        [sys.executable, path.name, str(out)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(done.stdout.strip())


def test_a_run_of_a_script_can_be_resumed(tmp_path, caplog):
    script = tmp_path / "study.py"
    script.write_text(SCRIPT)
    folder = run_script(script, tmp_path / "out")
    assert physopt.load(folder, trust=True).config.problem.as_dict()["size"] == 3
    assert (folder / "source" / "study.py").read_text() == SCRIPT
    assert run_id(find("problem", f"{script}:Mine")(), steps=5) == folder.name
    script.write_text(SCRIPT.replace("steps=5", "steps=7"))  # not part of the class
    assert physopt.resume(folder, steps=10).status["step"] == 10
    assert "continued with" not in caplog.text


def test_a_script_that_starts_runs_when_imported_is_refused(tmp_path, monkeypatch):
    script = tmp_path / "study.py"
    script.write_text(SCRIPT.replace('if __name__ == "__main__"', "if True"))
    folder = run_script(script, tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["resume", str(tmp_path / "out")])  # which the script reads
    with pytest.raises(OptionError, match="starts a run while it is imported"):
        physopt.resume(folder, steps=10, trust=True)
