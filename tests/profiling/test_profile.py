"""Profiles name the most expensive source line, and profiling changes no result."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import physopt
from physopt.config.registry import find
from physopt.machine.cache import keeping_programs, watching, with_own_lines
from physopt.profiling import profile
from physopt.profiling.hlo import Operation, operations
from physopt.training.display import Display

HEAVY = '''
"""A physics dominated by products of large matrices."""
from dataclasses import dataclass
import jax, jax.numpy as jnp
from physopt import Batch, Problem
from physopt.networks import Dense

@dataclass(frozen=True)
class Heavy(Problem):
    size: int = 512
    def sample(self, keys):
        target = jax.vmap(lambda key: jax.random.normal(key, (2,)))(keys)
        return Batch(target, target)
    def network(self, rngs):
        return Dense((2, 2), rngs)
    def simulate(self, x, batch):
        vector = (x[:, :1] + jnp.linspace(0, 1, self.size)) / self.size**0.5
        matrix = vector[:, :, None] * vector[:, None, :]
        product = matrix @ matrix @ matrix @ matrix  # the most expensive line
        return x + 1e-6 * product[:, :2, 0]
'''


class Notes(Display):
    """Collect the remarks."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "heavy.py"
    path.write_text(HEAVY, encoding="utf-8")
    return find("problem", f"{path}:Heavy")


SETTINGS: Any = {"steps": 4, "log_every": 2, "batch_size": 2, "heldout_size": 2}


@pytest.fixture(scope="module")
def with_profile(problem, tmp_path_factory):
    """A run with a profile: the run, its remarks, the rows of its table, its window."""
    display, out = Notes(), tmp_path_factory.mktemp("with")
    run = physopt.run(problem(), "adam", out=out, profile=True, display=display, **SETTINGS)
    with open(run.folder / "profile" / "operations.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return run, display.notes, rows, json.loads((run.folder / "profile/window.json").read_text())


def test_the_most_expensive_line_is_listed_first(with_profile):
    _, notes, rows, _ = with_profile
    (line,) = [k for k, text in enumerate(HEAVY.splitlines(), 1) if "most expensive line" in text]
    assert rows[0]["source"] == f"heavy.py:{line}"
    assert rows[0]["function"] == "Heavy.simulate"
    assert rows[0]["hlo"] in ("dot", "fusion", "custom-call")
    # Forward and backward: 36 x 512^3 operations, all others together about 100 x 512^2.
    product = sum(float(row["share"]) for row in rows if row["source"] == f"heavy.py:{line}")
    assert product > 0.5
    table = next(note for note in notes if note.startswith("profile"))
    assert f"heavy.py:{line} Heavy.simulate" in table.splitlines()[2]
    assert len(table.splitlines()) == 7


def test_columns_and_totals(with_profile):
    _, _, rows, window = with_profile
    assert list(rows[0]) == ["operation", "hlo", "function", "source", "seconds", "share", "calls"]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert 0 < sum(seconds) <= window["seconds"]
    for row in rows:
        assert float(row["share"]) == pytest.approx(float(row["seconds"]) / window["seconds"])
    # Every update executes each product once.
    assert int(rows[0]["calls"]) % window["updates"] == 0


def test_profiling_changes_no_result(with_profile, problem, tmp_path):
    run, *_ = with_profile
    plain = physopt.run(problem(), "adam", out=tmp_path, **SETTINGS)
    clocks = ["t_train", "t_compile", "t_eval", "compile_cached", "peak_bytes"]
    ours, theirs = (r.curve.drop(columns=clocks) for r in (run, plain))
    assert len(ours) == 3
    assert ours.equals(theirs)  # bit for bit, the run_id too
    assert not (plain.folder / "profile").exists()


def test_the_files_of_a_profile_contain_no_local_paths(with_profile):
    run, *_ = with_profile
    package = Path(physopt.__file__).resolve().parent.parent
    files = [path for path in (run.folder / "profile").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert names == {"operations.csv", "window.json", "trace.json.gz"}
    for path in files:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert content
        assert str(package).encode() not in content


def test_a_finished_run_reports_why_it_is_not_profiled(with_profile):
    run, *_ = with_profile
    display = Notes()
    out = run.config.settings.out
    physopt.run(run.config.problem, "adam", out=out, profile=True, display=display, **SETTINGS)
    assert any("force=true" in note for note in display.notes)


@pytest.mark.parametrize("fault", ["refuses", "names nothing"])
def test_a_run_without_a_profiler_continues(fault, problem, tmp_path, monkeypatch):
    if fault == "refuses":

        def refuse(*_, **__):
            raise RuntimeError("there is no profiler")

        monkeypatch.setattr(jax.profiler, "trace", refuse)
    else:
        monkeypatch.setattr(profile, "operations", lambda text: {})
    display = Notes()
    run = physopt.run(problem(size=8), "adam", out=tmp_path, profile=True, display=display,
                      **SETTINGS)  # fmt: skip
    assert run.status["status"] == "ok"
    (note,) = [note for note in display.notes if "no profile here" in note]
    assert ("there is no profiler" in note) == (fault == "refuses")
    assert not (run.folder / "profile" / "operations.csv").exists()
    physopt.resume(run.folder, steps=6, display=display)
    tried = [note for note in display.notes if "no profile here" in note]
    assert len(tried) == 1, "a resumed run is not profiled"


def test_operations_have_the_source_line_that_calls_them():
    def double_sine(x):
        return jnp.sin(x) @ jnp.cos(x).T

    x = jnp.ones((64, 64))
    text = jax.jit(double_sine).lower(x).compile().as_text()
    assert text is not None
    dots = [
        operation for operation in operations(text).values() if operation.operation == "dot_general"
    ]
    line = double_sine.__code__.co_firstlineno + 1
    assert {operation.source for operation in dots} == {f"test_profile.py:{line}"}
    assert all(operation.function.endswith("double_sine") for operation in dots)


def test_a_cached_program_does_not_report_the_lines_of_another_source(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("physopt.machine.cache.SHORTEST_SECONDS", 0.0)
    given = jax.config.values["jax_compilation_cache_dir"]
    earlier = lambda x: x @ x  # noqa: E731
    later = lambda x: x @ x  # noqa: E731
    latest = lambda x: x @ x  # noqa: E731

    def sources(function):
        text = jax.jit(function).lower(jnp.ones((64, 64))).compile().as_text()
        assert text is not None
        return {o.source for o in operations(text).values() if o.operation == "dot_general"}

    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with keeping_programs():
            first = sources(earlier)
            with watching() as seen:
                assert sources(later) == first  # one program to JAX, hence with_own_lines
            assert seen.all_kept
            with with_own_lines():
                own = sources(latest)
    finally:
        jax.config.update("jax_compilation_cache_dir", given)
    assert first == {f"test_profile.py:{earlier.__code__.co_firstlineno}"}
    assert own == {f"test_profile.py:{latest.__code__.co_firstlineno}"}


def test_a_line_in_a_library_is_attributed_to_its_caller():
    text = """HloModule m

FileNames
1 "{package}/train.py"
2 "{library}/optax/_src/update.py"
3 "{library}/flax/core.py"

FunctionNames
1 "body"
2 "apply_updates"

FileLocations
1 {{file_name_id=1 function_name_id=1 line=7 end_line=7}}
2 {{file_name_id=2 function_name_id=2 line=8 end_line=8}}
3 {{file_name_id=3 function_name_id=2 line=9 end_line=9}}

StackFrames
1 {{file_location_id=1 parent_frame_id={0}}}
2 {{file_location_id=2 parent_frame_id={1}}}
3 {{file_location_id=3 parent_frame_id={0}}}

%inside (p: f32[2]) -> f32[2] {{
  %p = f32[2]{{0}} parameter(0)
  ROOT %add.1 = f32[2]{{0}} add(%p, %p), metadata={{op_name="jit(f)/add" stack_frame_id=2}}
}}

ENTRY %main (x: (f32[2], s32[])) -> f32[2] {{
  %x = (f32[2]{{0}}, /*index=1*/s32[]) parameter(0)
  %fusion.1 = f32[2]{{0}} fusion(%x), kind=kLoop, calls=%inside
  %copy.1 = f32[2]{{0:T(8,128)}} copy(%fusion.1)
  ROOT %neg.1 = f32[2]{{0}} negate(%copy.1), metadata={{op_name="jit(f)/neg" stack_frame_id=3}}
}}
"""
    places = {"package": Path(physopt.__file__).parent, "library": Path(jax.__file__).parents[1]}
    for first in (0, 1):  # parents numbered as frames are, or one higher
        named = operations(text.format(first, first + 1, **places))
        ours = ("body", "physopt/train.py:7")
        assert named["add.1"] == Operation("add", "add", *ours)
        assert named["fusion.1"] == Operation("add", "fusion", *ours)
        assert named["copy.1"] == Operation("copy", "copy", "", "")
        assert named["neg.1"] == Operation("neg", "negate", "apply_updates", "flax/core.py:9")
