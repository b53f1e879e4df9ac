"""Feasibility: memory predicted from shapes alone, and confirmed by runs on both sides.

The physics is a chain of sweeps, whose memory is known: backpropagation keeps one array a sweep,
implicit differentiation none. This file is also the plug-in that the command reads.
"""

import dataclasses
import os
import signal
from pathlib import Path
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx

from physopt import Batch, Problem
from physopt.cli import main
from physopt.config import from_words
from physopt.feasibility.cell import compiled_cell, predicted_bytes
from physopt.feasibility.map import (
    EXHAUSTED,
    RAN,
    allocator_environment,
    judged,
    read_table,
    sample,
)
from physopt.feasibility.options import FeasibilityOptions
from physopt.feasibility.process import CellProcess
from physopt.feasibility.request import Device
from physopt.networks import Dense
from physopt.options import OptionError, PositiveInt
from physopt.records.units import bytes_text

HERE = Path(__file__).resolve().parent.parent
PROBLEM = f"problem={Path(__file__).resolve()}:Chain"
DESCENT = f"rule={HERE / 'tiny.py'}:Descent"
SWEEPS, SIZE = 64, 2**12
LAYER = 4 * SIZE * SWEEPS  # bytes that a sample keeps for backpropagation: 1 MiB
LIMIT = 100 * LAYER
WORDS = ["feasibility", PROBLEM, DESCENT, "device=cpu", f"memory_limit={LIMIT}B"]


@dataclasses.dataclass(frozen=True)
class Chain(Problem):
    """y = x + sin(y) / 2 for `size` copies of x, by sweeps that start at y = x.

    dy/dx = 1 / (1 - cos(y) / 2) at the fixed point, or by backpropagation, which keeps cos(y) of
    each sweep.
    """

    size: PositiveInt = 4096
    gradient: Literal["implicit", "unrolled"] = "implicit"

    defaults: ClassVar = {"batch_size": 4, "steps": 20, "log_every": 5, "heldout_size": 8}

    def sample(self, keys: jax.Array) -> Batch:
        target = jax.vmap(lambda key: jax.random.normal(key, (1,)))(keys)
        return Batch(target, target)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        return Dense((1, 2, 1), rngs)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        x = jnp.broadcast_to(x, (x.shape[0], self.size))

        def solve(x: jax.Array) -> jax.Array:
            return jax.lax.scan(lambda y, _: (x + jnp.sin(y) / 2, None), x, None, SWEEPS)[0]

        if self.gradient == "unrolled":
            y = solve(x)
        else:
            known = jax.lax.stop_gradient(x)
            y = solve(known)
            y = y + (x - known) / (1 - jnp.cos(y) / 2)
        return jnp.mean(y, axis=1, keepdims=True)


def config(mode, batch):
    words = [PROBLEM, DESCENT, "device=cpu", f"problem.size={SIZE}", f"problem.gradient={mode}"]
    return from_words([*words, f"batch_size={batch}"])


@pytest.fixture(scope="module")
def needed():
    cells = [(mode, batch) for mode in ("implicit", "unrolled") for batch in (8, 16)]
    return {cell: predicted_bytes(compiled_cell(config(*cell))[0]) for cell in cells}


def test_memory_kept_for_backpropagation_is_predicted(needed):
    # One sample more needs one array more per sweep, and a few temporary arrays.
    slope = (needed["unrolled", 16] - needed["unrolled", 8]) / 8
    assert LAYER <= slope < 1.2 * LAYER
    slope = (needed["implicit", 16] - needed["implicit", 8]) / 8
    assert 0 < slope < 10 * LAYER / SWEEPS


def test_a_prediction_allocates_nothing():
    # 16 TiB in all. XLA of JAX 0.12 divides by a number of elements modulo 2^32, which a batch of
    # 2^24 makes zero: it ends the process by SIGFPE.
    batch = 2**24 - 1
    with CellProcess() as process:
        answered = process.ask("compile", config("unrolled", batch), 300)
    assert LAYER * batch <= answered.content["bytes"] < 1.2 * LAYER * batch


@dataclasses.dataclass(frozen=True)
class Crashing(Chain):
    """Ends the process that traces a batch of 3, as a bug of the compiler does."""

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        if len(batch) == 3:
            os.kill(os.getpid(), signal.SIGFPE)
        return super().simulate(x, batch)


def test_a_compiler_that_crashes_costs_one_row(tmp_path, capsys):
    words = ["feasibility", f"{PROBLEM.rpartition(':')[0]}:Crashing", DESCENT, "device=cpu"]
    words += [f"out={tmp_path}", "sizes=8", "modes=implicit", "batches=2,3,4", "confirm=0"]
    assert main(words) == 0
    table = read(tmp_path).loc["implicit"]
    assert table["fits"].dropna().to_dict() == {2: True, 4: True}
    assert table["reason"][3] == "cannot be compiled: ended by SIGFPE without a message"
    assert f"1 cells  {table['reason'][3]}" in capsys.readouterr().out


def read(folder):
    (path,) = folder.rglob("feasibility.csv")
    return pd.read_csv(path, keep_default_na=False, na_values=[""]).set_index(["mode", "batch"])


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The folder of a map with one cell beyond the limit, and the output of the command."""
    out = tmp_path_factory.mktemp("map")
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(
            "builtins.print", lambda *words, **_: printed.append(" ".join(map(str, words)))
        )
        code = main([*WORDS, f"out={out}", f"sizes={SIZE}", "batches=16,256", "confirm=2"])
    assert code == 0
    return out, "\n".join(printed)


def test_predictions_hold_on_both_sides_of_the_limit(mapped, needed):
    table = read(mapped[0])
    assert table["fits"].to_dict() == {
        ("implicit", 16): True,
        ("implicit", 256): True,
        ("unrolled", 16): True,
        ("unrolled", 256): False,
    }
    # The subprocess predicts the same as this process.
    assert table["bytes"]["unrolled", 16] == needed["unrolled", 16]
    assert table["confirmed"].dropna().to_dict() == {
        ("unrolled", 16): RAN,
        ("unrolled", 256): EXHAUSTED,
    }
    # The run used the predicted memory, and some pages of code executed for the first time.
    measured = table["measured_bytes"]["unrolled", 16]
    assert 0.9 * needed["unrolled", 16] < measured < needed["unrolled", 16] + 64e6
    assert LIMIT < table["measured_bytes"]["unrolled", 256] < 300 * LAYER


def test_the_map_is_drawn_and_printed(mapped):
    (picture,) = mapped[0].rglob("feasibility.png")
    assert picture.stat().st_size > 5000
    assert "4 cells to compile" in mapped[1]
    assert f"wrote  {picture}" in mapped[1]


def test_a_map_resumes(mapped, monkeypatch, capsys):
    requests, ask = [], CellProcess.ask

    def counting(self, what, *arguments):
        requests.append(what)
        return ask(self, what, *arguments)

    monkeypatch.setattr(CellProcess, "ask", counting)
    words = [*WORDS, f"out={mapped[0]}", f"sizes={SIZE}", "batches=16,256,1", "modes=unrolled"]
    assert main([*words, "confirm=2"]) == 0
    assert requests == ["device", "compile"], "one cell is new, and no cell is run again"
    out = capsys.readouterr().out
    assert "2 known from before" in out
    assert "16 (" in out
    assert "predictions that held: 2 of 2" in out
    assert len(read(mapped[0])) == 5


def test_a_wrong_prediction_is_detected(mapped, capsys):
    (path,) = mapped[0].rglob("feasibility.csv")
    table = pd.read_csv(path)
    wrong = (table["mode"] == "unrolled") & (table["batch"] == 256)
    table.loc[wrong, ["bytes", "limit", "measured_bytes"]] = [LIMIT - 1, np.nan, np.nan]
    table.to_csv(path, index=False)
    words = [*WORDS, f"out={mapped[0]}", f"sizes={SIZE}", "batches=256", "modes=unrolled"]
    assert main([*words, "confirm=1"]) == 0
    assert "predictions that held: 0 of 1" in capsys.readouterr().out


def test_another_limit_needs_no_compilation(mapped):
    (path,) = mapped[0].rglob("feasibility.csv")
    narrow = read_table(path.parent, 1000.0)
    assert not narrow["fits"].any()
    assert (narrow["confirmed"] == "").all(), "a run under a larger limit decides nothing"
    assert read_table(path.parent, 1e15)["fits"].all()


def test_failures_have_different_statuses():
    def run(rule, file="tiny.py", *words, device="cpu"):
        problem = f"problem={HERE / 'tiny.py'}:Tiny"
        return from_words([problem, f"rule={HERE / file}:{rule}", f"device={device}", *words])

    with CellProcess({"PYTHONPATH": str(HERE)}) as process:  # faults.py imports tiny.py
        late = process.ask("compile", run("Descent"), 1e-3)
        assert (late.status, late.reason) == ("timeout", "wall-clock limit of 0.001 s")
        refused = process.ask("compile", run("Choosy"), 300)
        assert (refused.status, refused.reason) == ("refused", "it does not like this problem")
        broken = process.ask("compile", run("Broken"), 300)
        assert broken.status == "error"
        assert "this rule is broken" in broken.reason
        killed = process.ask("run", run("Killed", "faults.py"), 300)
        assert killed.status == "error"
        assert "SIGKILL" in killed.reason
        assert process.ask("compile", run("Descent"), 300).content["bytes"] > 0
        with pytest.raises(OptionError, match="no tpu is found"):
            process.ask("compile", run("Descent", device="tpu"), 300)
    with pytest.raises(OptionError, match="did you mean batch_size"):
        run("Descent", "tiny.py", "batch_sise=3")


def test_a_refusal_is_a_row_with_its_reason(tmp_path, capsys):
    words = [f"problem={HERE / 'tiny.py'}:Tiny", f"rule={HERE / 'tiny.py'}:Choosy", "device=cpu"]
    words += [f"out={tmp_path}", "sizes=3", "batches=1,2"]
    assert main(["feasibility", *words]) == 0
    table = read(tmp_path)
    assert not table["fits"].any()
    assert (table["reason"] == "refused: it does not like this problem").all()
    assert (table.reset_index()["mode"] == "-").all()
    assert "2 cells  refused: it does not like this problem" in capsys.readouterr().out


def test_cells_on_both_sides_of_the_limit_are_run():
    needs = {("a", 1): 1, ("a", 2): 60, ("a", 4): 90, ("a", 8): 130, ("b", 1): 50, ("b", 2): 500}
    rows = [{"size": 1, "mode": m, "batch": b, "bytes": v} for (m, b), v in needs.items()]
    rows.append({"size": 1, "mode": "c", "batch": 1, "bytes": np.nan})
    table = pd.DataFrame(rows).assign(fits=lambda t: (t["bytes"] <= 100).astype("boolean"))
    keys = [(mode, batch) for _, batch, mode in sample(table, 100.0, 5)]
    assert keys == [("a", 4), ("a", 8), ("b", 1), ("b", 2), ("a", 2)]
    assert sample(table, 100.0, 0) == []
    assert len(sample(table, 100.0, 99)) == 6


def test_a_prediction_holds_if_the_run_agrees():
    outcomes = [(True, RAN), (True, EXHAUSTED), (False, RAN), (False, EXHAUSTED), (True, "broke")]
    table = pd.DataFrame(outcomes, columns=["fits", "confirmed"])
    assert judged(table)["right"].tolist() == [True, False, False, True]


def test_the_limit_bounds_the_allocator_of_an_accelerator(monkeypatch):
    new, old = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
    for name in (new, old):
        monkeypatch.delenv(name, raising=False)
    device = Device("gpu", "H200", 70.0, held=75.0)  # of 100
    assert allocator_environment(device, 30.0) == {new: "0.300000"}
    assert allocator_environment(device, 80.0) == {}
    assert allocator_environment(device._replace(held=None), 30.0) == {}
    monkeypatch.setenv(old, "0.5")
    assert allocator_environment(device._replace(held=50.0), 25.0) == {old: "0.250000"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("16GiB", 2**34), ("500 MB", 5e8), ("2e9B", 2e9), ("1.5", 1.5 * 2**30), ("8kB", 8000)],
)
def test_amounts_of_memory(text, value):
    assert FeasibilityOptions(memory_limit=text).limit_bytes() == value
    assert bytes_text(2**30) == "1 GiB"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sises=3"], "did you mean sizes?"),
        (["problem.hiden=3"], "did you mean problem.hidden?"),
        (["sizes=1"], "problem.size=1: must be at least 2"),
        (["modes=implicit,unroled"], "did you mean unrolled?"),
        (["memory_limit=3XB"], "such as 16GiB, 500MB or 2e9B"),
        (["batches="], "batches: a value is missing"),
        (["batches=[]"], "at least one batch size"),
        (["batch_size=3"], "is varied by batches="),
        (["problem.gradient=remat"], "is varied by modes="),
        (["devices=2"], "the map is of one device"),
        (["problem=quantum", "size_option=pionts"], "did you mean points?"),
        (["problem=sin"], "size_option=size: the problem has no such option"),
        (["problem=poisson", "modes=implicit"], "mode_option=gradient: the problem has no such"),
    ],
)
def test_invalid_arguments_are_refused_before_compilation(capsys, tmp_path, words, expected):
    assert main(["feasibility", f"out={tmp_path}", *words]) == 2
    assert expected in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
