"""Promises to users: import names, record files, exit codes and help. A change here is a break."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from physopt.cli import COMMANDS, main
from physopt.commands.runs import Extension
from physopt.commands.scores import CompareOptions, ReportOptions, ScoreOptions
from physopt.commands.watch import WatchOptions
from physopt.config.parse import run_hints
from physopt.config.registry import find
from physopt.config.settings import Settings
from physopt.feasibility.options import FeasibilityOptions
from physopt.options import annotations
from physopt.records.status import LOCKED_EXIT_CODE, STATUSES
from physopt.sweeping.options import RaceOptions, SweepOptions, TuneOptions

HERE = Path(__file__).resolve().parent
TINY, DESCENT = f"{HERE / 'tiny.py'}:Tiny", f"{HERE / 'tiny.py'}:Descent"

NAMES = {
    "physopt": "Batch Objective Problem Run UpdateRule cost load resume run",
    "physopt.options": "Options OptionError Bounds PositiveInt PositiveFloat NonNegativeFloat",
    "physopt.networks": "Dense",
    "physopt.problem": "Problem Batch",
    "physopt.rule": "UpdateRule cost",
    "physopt.objective": "Objective",
    "physopt.records": "RunFolder",
    "physopt.config": "from_words",
    "physopt.script": "script",
    "physopt.optimizers.first_order": "Adam SGD",
    "physopt.optimizers.spectral": "HalfInverse",
    "physopt.problems.ldft": "",
    "physopt.analysis": "load score_table ranks paired_tests performance_profile compare",
}

COMMAND_OPTIONS = {
    "run": Settings,
    "resume": Extension,
    "sweep": SweepOptions,
    "tune": TuneOptions,
    "race": RaceOptions,
    "watch": WatchOptions,
    "score": ScoreOptions,
    "report": ReportOptions,
    "compare": CompareOptions,
    "feasibility": FeasibilityOptions,
}

RECORD = {
    "config.json": "problem rule seed batch_size train_size heldout_size steps seconds log_every "
    "stop_at_target network start dtype device devices out force profile tuning_trials debug "
    "target",
    "env.json": "physopt jax jaxlib flax optax numpy python system device_kind device_count driver "
    "cpu_count cpu_threads xla_flags dtype matmul_precision git_commit git_dirty seed",
    "status.json": "status reason time pid step t_train",
    "curve.jsonl": "run_id problem rule seed batch_size device_kind device_count dtype step "
    "t_train t_compile t_eval compile_cached train_loss validation_loss test_loss validation_error "
    "error n_simulate n_vjp n_invert n_factor grad_norm update_norm peak_bytes",
}


@pytest.mark.parametrize("module", NAMES)
def test_public_names_can_be_imported(module):
    imported = importlib.import_module(module)
    for name in NAMES[module].split():
        assert hasattr(imported, name), f"{module}.{name}"


def test_a_run_writes_the_files_and_keys_that_are_documented(tmp_path, capsys):
    words = [f"problem={TINY}", f"rule={DESCENT}", "steps=2", "log_every=1", "figures=true"]
    assert main(["run", *words, f"out={tmp_path}"]) == 0
    (folder,) = (tmp_path / "Tiny" / "Descent").iterdir()
    assert re.fullmatch("[0-9a-f]{12}", folder.name)
    assert {*RECORD, "test_metrics.npz", "training.png", "checkpoints"} <= {
        path.name for path in folder.iterdir()
    }
    for file, keys in RECORD.items():
        lines = (folder / file).read_text().splitlines()
        contents = lines if file == "curve.jsonl" else ["".join(lines)]
        for content in contents:
            written = [key for key in json.loads(content) if key in keys.split()]
            assert written == keys.split(), f"{file}: a key is missing or out of order"
    curve = (folder / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in curve] == [0, 1, 2]


def test_each_status_has_its_exit_code():
    codes = {name: status.exit_code for name, status in STATUSES.items()}
    assert codes == {
        "ok": 0, "target": 0, "budget": 0, "converged": 0, "diverged": 1, "skipped": 3, "oom": 1,
        "timeout": 1, "error": 1, "interrupted": 130,
    }  # fmt: skip
    assert LOCKED_EXIT_CODE == 75


def test_the_commands_have_their_names():
    known = "run resume sweep tune race status watch score report compare design feasibility list "
    known += "info check completion"
    assert list(COMMANDS) == known.split()


@pytest.mark.parametrize("command", COMMAND_OPTIONS)
def test_help_names_every_option_of_a_command_with_its_docstring(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m physopt {command} ")
    for option in annotations(COMMAND_OPTIONS[command]):
        (text,) = re.findall(rf"(?m)^  {option}=\S+\s+(\S.*)$", out)
        assert text


def test_help_of_a_run_names_the_options_of_its_problem_and_rule(capsys):
    assert main(["run", "problem=ldft2d", "rule=hig", "--help"]) == 0
    out = capsys.readouterr().out
    for key in run_hints(find("problem", "ldft2d"), find("rule", "hig")):
        assert f"  {key}=" in out
    assert "(default: 0.9)" in out.partition("  rule.momentum=")[2][:200], "this pair's"


def test_help_of_no_command_waits_for_jax():
    command = "import sys; from physopt.cli import COMMANDS, main; "
    command += "assert not any([main([command, '--help']) for command in ('help', *COMMANDS)]); "
    command += "assert not {'jax', 'flax', 'pandas', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True, stdout=subprocess.DEVNULL)
