"""Runs from Python: endings, records and resuming."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Broken, Choosy, Descent, Explosive, Sleepy, Tiny

import physopt
from physopt.config.run_config import from_record
from physopt.optimizers.first_order import LBFGS, Adam
from physopt.options import OptionError
from physopt.records import RunFolder
from physopt.records.checkpoints import Checkpoints

HERE = Path(__file__).resolve().parent.parent


def losses(run):
    """Return the curve without timings and without compile_cached, which depends on timings."""
    timings = [c for c in run.curve.columns if c.startswith(("t_", "compile_"))]
    return run.curve.drop(columns=[*timings, "run_id"])


def final_parameters(run):
    checkpoints = Checkpoints(run.folder / "checkpoints")
    setup, _ = run.best()

    carry = setup.initial_carry()
    last = checkpoints.restore(carry)[0]
    checkpoints.close()
    return jax.tree.leaves(last)


def test_a_run_writes_the_documented_records(tmp_path):
    run = physopt.run(Tiny(), Adam(learning_rate=0.05), steps=40, out=tmp_path)
    assert run.folder.parent == tmp_path / "Tiny" / "adam"
    assert len(run.folder.name) == 12
    assert run.status["status"] == "ok"
    assert run.status["step"] == 40
    curve = run.curve
    columns = {
        *("run_id", "problem", "rule", "seed", "batch_size", "device_kind", "device_count"),
        *("dtype", "step", "t_train", "t_compile", "t_eval", "train_loss", "validation_loss"),
        *("test_loss", "error", "n_simulate", "n_vjp", "n_invert", "n_factor"),
        *("grad_norm", "update_norm", "peak_bytes"),
    }
    assert columns <= set(curve.columns)
    assert list(curve.step) == list(range(0, 41, 5))
    assert list(curve.n_simulate) == [4 * step for step in curve.step]
    assert curve.t_train.is_monotonic_increasing
    assert curve.test_loss.iloc[-1] < curve.test_loss.iloc[0]
    environment = json.loads((run.folder / "env.json").read_text())
    assert {"jax", "flax", "optax", "device_kind", "git_commit", "seed"} <= set(environment)
    assert from_record(json.loads((run.folder / "config.json").read_text())) == run.config


def test_a_finished_run_is_not_run_again_unless_forced(tmp_path):
    first = physopt.run(Tiny(), Descent(), out=tmp_path)
    began = first.status["time"], (first.folder / "curve.jsonl").stat().st_mtime_ns
    again = physopt.run(Tiny(), Descent(), out=tmp_path)
    assert again.folder == first.folder
    assert began == (again.status["time"], (again.folder / "curve.jsonl").stat().st_mtime_ns)
    forced = physopt.run(Tiny(), Descent(), out=tmp_path, force=True)
    assert forced.folder == first.folder
    assert (forced.folder / "curve.jsonl").stat().st_mtime_ns > began[1]
    assert losses(forced).equals(losses(first))


def test_target_stops_a_run(tmp_path):
    run = physopt.run(
        Tiny(size=1), Descent(learning_rate=0.3), steps=5000, stop_at_target=True, out=tmp_path
    )
    assert run.status["status"] == "target"
    assert run.curve.validation_error.iloc[-1] <= 0.05 < run.curve.validation_error.iloc[-2]


@dataclasses.dataclass(frozen=True)
class Averaged(Descent):
    """Descent whose result is the mean of all iterates, the initial parameters included."""

    def init(self, objective, params, key):
        return jnp.ones(()), params

    def update(self, objective, params, state, batch, key):
        updates, _, info = super().update(objective, params, (), batch, key)
        count, total = state
        total = jax.tree.map(lambda t, p, u: t + p + u, total, params, updates)
        return updates, (count + 1, total), info

    def evaluated(self, params, state):
        count, total = state
        return jax.tree.map(lambda t: t / count, total)


@pytest.mark.parametrize("network", ["default", "none"])
def test_evaluation_uses_the_parameters_that_the_rule_returns(tmp_path, network):
    settings: dict[str, Any] = {"steps": 6, "log_every": 1, "network": network, "out": tmp_path}
    run = physopt.run(Tiny(), Averaged(0.5), **settings)
    plain = physopt.run(Tiny(), Descent(0.5), **settings)
    # The iterates are equal; the evaluated parameters differ.
    np.testing.assert_allclose(run.curve.train_loss[1:], plain.curve.train_loss[1:], rtol=1e-5)
    assert run.curve.validation_loss.iloc[0] == plain.curve.validation_loss.iloc[0]
    assert (run.curve.validation_loss[1:] != plain.curve.validation_loss[1:]).all()

    setup, best = run.best()
    _, last, host = Checkpoints(run.folder / "checkpoints").restore(setup.initial_carry())
    carry = setup.initial_carry()
    iterates = [carry.params]
    for step in range(6):
        updates, _, _ = setup.rule.update(
            setup.objective, carry.params, carry.state,
            setup.source.draw(jnp.int32(step)).at(step / 6), jax.random.key(0),
        )  # fmt: skip
        carry = carry._replace(params=optax.apply_updates(carry.params, updates))
        iterates.append(carry.params)
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *iterates)
    assert host["best_step"] == 6
    for kept in (best, last):
        for a, b in zip(jax.tree.leaves(kept), jax.tree.leaves(mean), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    x = setup.predict(mean, setup.held_out.inputs)
    validation, _ = jnp.split(setup.objective.losses(x, setup.held_out), 2)
    np.testing.assert_allclose(run.curve.validation_loss.iloc[-1], validation.mean(), rtol=1e-4)


def test_seconds_end_a_run_with_status_budget(tmp_path):
    run = physopt.run(Tiny(), Sleepy(seconds=0.02), seconds=0.2, log_every=2, out=tmp_path)
    assert run.status["status"] == "budget"
    assert run.config.settings.steps is None


def test_nan_ends_a_run_as_diverged(tmp_path):
    run = physopt.run(Tiny(), Explosive(after=7), steps=100, out=tmp_path)
    assert run.status["status"] == "diverged"
    assert run.curve.step.iloc[-1] == 10
    assert run.curve.test_loss.isna().iloc[-1]
    assert np.isfinite(run.predict(np.ones((2, 3)))).all()


def test_nonfinite_parameters_end_a_run_even_if_the_loss_is_finite(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Tolerant(Tiny):
        def simulate(self, x, batch):
            return super().simulate(jnp.nan_to_num(x), batch)

    @dataclasses.dataclass(frozen=True)
    class Lost(Descent):
        def update(self, objective, params, state, batch, key):
            updates, state, info = super().update(objective, params, state, batch, key)
            return jax.tree.map(lambda u: u * jnp.nan, updates), state, info

    run = physopt.run(Tolerant(), Lost(), steps=10, out=tmp_path)
    assert run.status["status"] == "diverged"
    assert "update_norm is nan" in run.status["reason"]
    assert np.isfinite(run.curve.validation_loss).all()


def test_a_refusal_is_a_skipped_run(tmp_path):
    run = physopt.run(Tiny(), Choosy(), out=tmp_path)
    assert run.status["status"] == "skipped"
    assert run.status["reason"] == "it does not like this problem"


def test_an_error_is_recorded_and_raised(tmp_path):
    with pytest.raises(RuntimeError, match="broken"):
        physopt.run(Tiny(), Broken(), out=tmp_path)
    (folder,) = (tmp_path / "Tiny" / "Broken").iterdir()
    status = physopt.load(folder).status
    assert status["status"] == "error"
    assert "this rule is broken" in status["reason"]


def test_rules_with_one_seed_share_initial_parameters_and_samples(tmp_path):
    a, b = (physopt.run(Tiny(), r, seed=3, out=tmp_path) for r in (Descent(), Adam()))
    assert a.curve.test_loss[0] == b.curve.test_loss[0]
    c = physopt.run(Tiny(), Descent(), seed=4, out=tmp_path)
    assert a.curve.test_loss[0] != c.curve.test_loss[0]


def test_a_larger_budget_continues_a_finished_run(tmp_path):
    whole = physopt.run(Tiny(), Adam(), steps=40, out=tmp_path / "a")
    part = physopt.run(Tiny(), Adam(), steps=20, out=tmp_path / "b")
    more = physopt.resume(part.folder, steps=40)
    assert more.folder == part.folder
    assert losses(more).equals(losses(whole))
    for a, b in zip(final_parameters(more), final_parameters(whole), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rule", [Adam(learning_rate=0.1), LBFGS()])
def test_no_network_solves_each_held_out_sample(tmp_path, rule):
    run = physopt.run(
        Tiny(), rule, steps=300, log_every=100, network="none", batch_size=3, out=tmp_path
    )
    assert run.curve.error.iloc[-1] < 1e-2
    assert list(run.curve.n_simulate)[1] >= 100 * 6
    with pytest.raises(ValueError, match="network=none"):
        run.predict(np.ones((2, 3)))


def test_a_fixed_training_set_and_float64(tmp_path):
    run = physopt.run(
        Tiny(), Adam(), train_size=6, dtype="float64", steps=10, log_every=5, out=tmp_path
    )
    assert run.status["status"] == "ok"
    assert run.predict(np.ones((2, 3))).dtype == np.float64
    assert not jax.config.values["jax_enable_x64"]


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"network": "papr"}, "network"),
        ({"batch_size": 8, "train_size": 4}, "batch_size"),
        ({"network": "none", "train_size": 8}, "train_size"),
        ({"network": "none", "batch_size": 99}, "batch_size"),
        ({"learning_rate": 1}, "learning_rate"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_invalid_settings_are_refused_by_name(tmp_path, settings, key):
    with pytest.raises(OptionError) as caught:
        physopt.run(Tiny(), Descent(), out=tmp_path, **settings)
    assert caught.value.key == key
    assert not list(tmp_path.iterdir())


def start(out, *more):
    command = [sys.executable, "-m", "physopt", "run", f"problem={HERE / 'tiny.py'}:Tiny"]
    return subprocess.Popen(
        [*command, f"out={out}", *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_step(out, step):
    """Wait until the curve of the only run below `out` has reached a step."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for path in Path(out).rglob("curve.jsonl"):
            if any(row["step"] >= step for row in RunFolder(path.parent).curve()):
                return RunFolder(path.parent)
        time.sleep(0.02)
    raise AssertionError(f"step {step} was not reached")


SLOW = (f"rule={HERE / 'tiny.py'}:Sleepy", "rule.seconds=0.02", "steps=60", "log_every=5")


def test_a_killed_run_resumes_bit_for_bit(tmp_path, monkeypatch):
    undisturbed = start(tmp_path / "a", *SLOW)
    process = start(tmp_path / "b", *SLOW)
    folder = wait_for_step(tmp_path / "b", 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert folder.status()["status"] == "interrupted"
    with open(folder.path / "curve.jsonl", "a") as file:  # a line that the kill truncated
        file.write('{"step": 25, "train')
    assert start(tmp_path / "b", *SLOW).wait() == 0
    assert undisturbed.wait() == 0
    resumed = physopt.load(folder.path)
    (other,) = (tmp_path / "a").rglob("config.json")
    whole = physopt.load(other.parent)
    assert losses(resumed).equals(losses(whole))
    for a, b in zip(final_parameters(resumed), final_parameters(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_run_can_be_resumed_after_ctrl_c(tmp_path):
    process = start(tmp_path, *SLOW)
    folder = wait_for_step(tmp_path, 10)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert f"resume {folder.path}" in out
    status = folder.status()
    assert status["status"] == "interrupted"
    assert 10 <= status["step"] < 60
    resumed = physopt.resume(folder.path)
    assert resumed.status["status"] == "ok"
    assert list(resumed.curve.step) == list(range(0, 61, 5))


def test_one_config_has_one_run_id_in_every_process(tmp_path):
    command = (
        "from tiny import Tiny, Descent; from physopt.config.run_config import make_config;"
        "from physopt.training.identity import run_id;"
        "print(run_id(make_config(Tiny(), Descent(), {'seed': 3}), 'cpu'))"
    )
    run_ids = {
        subprocess.run(
            [sys.executable, "-c", command],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(HERE), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(run_ids) == 1
