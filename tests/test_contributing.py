"""The example files of CONTRIBUTING.md are complete: they pass `check` and train."""

import re
from pathlib import Path

import jax
import pytest

import physopt
from physopt.checking.refusals import known_rules, refusal
from physopt.cli import main
from physopt.objective import build

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(
    r"```python\n# (\w+\.py)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL
)
COMMANDS = re.findall(
    r"^python -m physopt (check|run) (.*)$", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, code in BLOCKS:
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_rule_has_at_most_the_promised_lines():
    code = dict(BLOCKS)["signed_descent.py"]
    body = code[code.index("@dataclass") :]
    assert len([line for line in body.splitlines() if line.strip()]) <= 15


PRINTED = {
    "population.py:Population": "reverse only, as of an adjoint",
    "population_jacobian.py:PopulationJacobian": "forward and reverse",
}
"""Text that `check` prints of a problem, among others."""


@pytest.mark.parametrize(("command", "words"), COMMANDS)
def test_the_commands_work(folder, capsys, command, words):
    small = ["steps=4", "log_every=2", "heldout_size=4", "batch_size=4"] if command == "run" else []
    if "ldft2d" in words:
        small += ["problem.size=4", "problem.points=5", "problem.refine=0"]
    code = main([command, *words.split(), *small])
    printed = capsys.readouterr()
    assert code == 0, printed
    assert command == "run" or PRINTED.get(words, "") in printed.out


def test_the_problem_can_be_learnt(folder):
    from physopt.config.registry import find

    run = physopt.run(find("problem", "pendulum.py:Pendulum")(), "adam", steps=500, out=folder)
    assert run.curve.error.iloc[-1] < 0.1 * run.curve.error.iloc[0]


def test_the_differential_equation_can_be_solved(folder):
    from physopt.config.registry import find

    wave = find("problem", "wave.py:Wave")()
    settings = {"steps": 40, "heldout_size": 64, "log_every": 40, "out": folder}
    run = physopt.run(wave, "levenberg_marquardt", **settings)
    assert run.curve.relative_l2.iloc[0] > 0.1
    assert run.curve.relative_l2.iloc[-1] < wave.target[1]


def test_no_rule_lacks_a_derivative_that_it_did_not_ask_for(folder):
    """Of a simulator with an adjoint alone: rules that refuse it say so before they are traced."""
    from physopt.config.registry import find

    problem = find("problem", "population.py:Population")()
    objective, params = build(problem, "default", 0)
    key = jax.random.key(0)
    batch = problem.sample(jax.random.split(key, 2)).at(0.0)
    serving = {
        name: rule
        for name, rule in known_rules(type(problem)).items()
        if refusal(rule, objective, params, batch) is None
    }
    assert {"adam", "hig", "levenberg_marquardt", "hessian_free"} <= set(serving)
    for rule in serving.values():
        state = rule.init(objective, params, key)
        jax.eval_shape(rule.update, objective, params, state, batch, key)
