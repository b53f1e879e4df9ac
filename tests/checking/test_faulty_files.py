"""A faulty file of a user's own: one cause, its line, and the cure."""

import pytest

from physopt.cli import main

FILE = '''import dataclasses
import jax, jax.numpy as jnp, numpy as np
from physopt import Batch, Problem
from physopt.networks import Dense

{decorator}
class Mine(Problem):
    """y = 2 x."""
    size: int = 3
    {more}

    def sample(self, keys):
        target = jax.vmap(lambda key: jax.random.normal(key, (self.size,)))(keys)
        return Batch(target, target)

    def network(self, rngs):
        return Dense((self.size, 4, self.size), rngs)

    def simulate(self, x, batch):
        return {simulate}
'''
SOUND = {"decorator": "@dataclasses.dataclass(frozen=True)", "more": "", "simulate": "2 * x"}
COUPLED = "loss = lambda self, y, batch: jnp.sum((y - jnp.mean(y, axis=0)) ** 2, axis=-1)"
SCALAR = "loss = lambda self, y, batch: jnp.mean((y - batch.target) ** 2)"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def file(name, **faults):
        (tmp_path / f"{name}.py").write_text(FILE.format(**SOUND | faults))
        return f"{name}.py:Mine"

    return file


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"decorator": "@dataclasses.dataclass"}, "@dataclass(frozen=True) (a.py, line 7)"),
        ({"decorator": ""}, "needs the decorator @dataclass(frozen=True) (a.py, line 7)"),
        ({"more": "target = 0.05"}, "target = 0.05 must name a metric and a value"),
        ({"more": "target = ('error',)"}, "must name a metric and a value"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_class_that_cannot_be_used_is_refused_by_its_line(
    write, capsys, command, fault, expected
):
    name = write("a", **fault)
    words = [name] if command == "check" else [f"problem={name}", "rule=adam"]
    assert main([command, *words]) == 2
    out, err = capsys.readouterr()
    assert expected in err
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("simulate", "cause"),
    [
        ("x if x.sum() > 0 else -x", "use jnp.where"),
        ("np.sin(x)", "use jax.numpy, or wrap code that is not JAX by jax.pure_callback"),
        ("x * float(x[0, 0])", "compute with the array itself"),
        ("x[: int(x[0, 0])]", "compute with the array itself"),
        ("x[x > 0]", "use jnp.where"),
        ("2 * z", "name 'z' is not defined"),
    ],
)
def test_checks_end_at_the_first_cause_with_its_line_and_cure(write, capsys, simulate, cause):
    assert main(["check", write("b", simulate=simulate)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert cause in out
    assert out.count("(b.py, line 20, in simulate)") == 1
    assert "1 of 3 checks failed" in out


@pytest.mark.parametrize(
    ("loss", "reason"),
    [(COUPLED, "loss of a sample depends on the other samples"), (SCALAR, "loss has shape ()")],
)
def test_a_loss_of_several_samples_is_found(write, capsys, loss, reason):
    assert main(["check", write("c", more=loss)]) == 1
    assert reason in " ".join(capsys.readouterr().out.split())


def test_a_run_refuses_a_loss_that_is_not_per_sample(write, capsys, tmp_path):
    name = write("d", more=SCALAR)
    assert main(["run", f"problem={name}", "rule=adam", f"out={tmp_path / 'runs'}"]) == 2
    assert capsys.readouterr().err.startswith("physopt: metric=loss: loss has shape ()")
