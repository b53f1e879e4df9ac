"""Baselines: computed once for all runs of a problem, and kept inside the folder of a moved run."""

import dataclasses
import json
import shutil

import pytest
from tiny import Descent, Tiny

import physopt
from physopt.records import RunFolder
from physopt.training import baselines

COMPUTED = []


@dataclasses.dataclass(frozen=True)
class Compared(Tiny):
    def baselines(self, held_out):
        COMPUTED.append(len(held_out))
        return {"none": {"error": 1.0}}


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The folder of results of two runs, and `COMPUTED` as they left it."""
    monkeypatch.chdir(tmp_path)
    COMPUTED.clear()
    for seed in (0, 1):
        physopt.run(Compared(), Descent(), seed=seed, steps=2, out="results")
    return tmp_path / "results"


def runs(out):
    return sorted((out / "Compared" / "Descent").iterdir())


def test_the_runs_of_a_problem_share_their_baselines(out):
    assert COMPUTED == [8]
    for folder in runs(out):
        assert json.loads((folder / "baselines.json").read_text()) == {"none": {"error": 1.0}}
    (shared,) = (out / "Compared" / "baselines").iterdir()
    shared.write_text('{"none": {"error": "small"}}')  # damaged: computed anew
    physopt.run(Compared(), Descent(), seed=2, steps=2, out="results")
    assert COMPUTED == [8, 8]
    assert RunFolder(shared.parent).read(shared.name) == {"none": {"error": 1.0}}


def test_a_moved_run_writes_to_its_own_folder_alone(out, tmp_path):
    moved = tmp_path / "archive" / "of" / "mine" / "run"
    shutil.copytree(runs(out)[0], moved)
    (moved / "baselines.json").unlink()
    before = {path for path in tmp_path.rglob("*") if moved not in path.parents}
    assert physopt.resume(moved, steps=4).status["status"] == "ok"
    assert json.loads((moved / "baselines.json").read_text()) == {"none": {"error": 1.0}}
    assert {path for path in tmp_path.rglob("*") if moved not in path.parents} == before


def test_a_shared_file_that_cannot_be_written_does_not_end_a_run(out, monkeypatch):
    shutil.rmtree(out / "Compared" / "baselines")
    (out / "Compared" / "baselines").write_text("a file where the folder should be")
    run = physopt.run(Compared(), Descent(), seed=3, steps=2, out="results")
    assert run.status["status"] == "ok"
    assert baselines.FILE in {path.name for path in run.folder.iterdir()}
