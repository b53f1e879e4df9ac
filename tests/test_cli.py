"""The command line: what a user types, reads and gets back as exit code."""

import io
import itertools
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import physopt
from physopt.cli import main
from physopt.commands.show import _by_seed
from physopt.config import from_words
from physopt.config.parse import load_toml
from physopt.options import OptionError
from physopt.records import RunFolder

HERE = Path(__file__).resolve().parent
TINY, DESCENT = f"{HERE / 'tiny.py'}:Tiny", f"{HERE / 'tiny.py'}:Descent"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["runn"], "did you mean run?"),
        (["run", "problem=ldft2d"], "rule: name a rule; known: adam"),
        (["run", "problem=ldft2d", "rule=adm"], "rule=adm: unknown rule; did you mean adam?"),
        (["run", "problem=ldf2d", "rule=adam"], "did you mean ldft2d?"),
        (["run", "problem=nowhere.py:P", "rule=adam"], "cannot import nowhere.py: no file "),
        (["run", f"problem={TINY}y", "rule=adam"], "has no class Tinyy; did you mean Tiny?"),
        (["run", "problem=ldft2d", "rule=adam", "batch_sise=4"], "did you mean batch_size?"),
        (["run", "problem=ldft2d", "rule=adam", "problem.sise=4"], "did you mean problem.size?"),
        (["run", "problem=ldft2d", "rule=adam", "problem.size=0"], "problem.size=0: must be at"),
        (["run", "problem=ldft2d", "rule=adam", "problem.size=x"], "problem.size=x: "),
        (["run", "problem=ldft2d", "rule=adam", "batch_size=-1"], "batch_size=-1: must be at"),
        (["run", "problem=ldft2d", "rule=adam", "seconds=nan"], "seconds=nan: must be a finite"),
        (["run", "problem=ldft2d", "rule=adam", "rule.learning_rate=0"], "rule.learning_rate=0"),
        (["run", "problem=ldft2d", "rule=adam", "problem.targets=mixtur"], "did you mean mixture?"),
        (["run", "problem=ldft2d", "rule=adam", "device=tpu"], "device=tpu: no tpu is found"),
        (["run", "problem=ldft2d", "rule=adam", "network=papers"], "network=papers: "),
        (["run", "problem=ldft2d", "rule=adam", "start=nowhere"], "start=nowhere: holds no run"),
        (["run", "problem=ldft2d", "rule=adam", "steps"], "expected key=value"),
        (["run", "missing.toml"], "missing.toml"),
        (["run", "problem=ldft2d", "rule=optax", "rule.optimizer=nadm"], "did you mean nadam?"),
        (["run", "problem=sin", "rule=optax", "rule.optimizer=clip"], "rule.optimizer=clip: is a "),
        (["run", "problem=sin", "rule=optax", "rule.optimizer=l2_loss"], "no optimiser"),
        (["run", "problem=sin", "rule=optax", "rule.b4=1"], "rule.b4=1: unknown key; did you mean"),
        (["run", "problem=sin", "rule=sip", "rule.b1=high"], "rule.b1=high: must be a finite"),
        (["sweep", "problem=sin", "rule=optax", "rule.optimizer=adam,sam"], "needs optimizer and"),
        (["run", "problem=sin", "rule=adam", "seed=4294967296"], "must be at most 4294967295"),
        (["run", "problem=sin", "rule=adam", f"steps={10**23}"], "must be at most"),
        (["run", "problem=ldft2d", "rule=adam", f"problem.size={10**23}"], "must be at most"),
        (["run", "problem=sin", "rule=adam", "rule.b1=1.0"], "rule.b1=1.0: must be less than 1"),
        (["run", "problem=sin", "rule=hig", "rule.damping=nan"], "rule.damping=nan: must be a "),
        (["run", "problem=sin", "rule=hig", "rule.kappa=nan"], "rule.kappa=nan: must be a finite"),
        (["run", "problem=sin", "rule=adam", "seed=0,1"], "`sweep` takes several values of a key"),
        (["run", "problem=sin", "rule=adam", "seed="], "seed: a value is missing"),
        (["run", "problem=sin", "rule=adam", "out="], "out: a value is missing"),
        (["run", "problem=sin", "rule=adam", "seed=1", "seed=2"], "seed=2: is given twice"),
        (["run", "problem=sin", "problem=exp", "rule=adam"], "problem=exp: is given twice"),
        (["sweep", "problem=sin", "rule=adam", "seed=1", "seed=2"], "seed=2: is given twice"),
        (["run", "problem=pathlib:Path", "rule=adam"], "problem=pathlib:Path: is no problem"),
        (["run", "problem=sin", "rule=subprocess:Popen"], "rule=subprocess:Popen: is no rule"),
        (["run", "problem=sin", "rule=adam", "out=/dev/null"], "Not a directory"),
        (["feasibility", "problem=ldft2d", "sizes="], "sizes: a value is missing"),
        (["feasibility", "problem=ldft2d", "sizes=1,,2"], "sizes=1,,2: a value is missing"),
        (["resume"], "name the folder of a run"),
        (["resume", "nowhere"], "holds no run"),
        (["status", "nowhere"], "no such folder"),
        (["info", "adm"], "did you mean adam?"),
        (["check", "ldft2d", "sise=3"], "did you mean size?"),
        (["list", "all"], "takes no arguments"),
        (["score", "out=table.xls"], "out=table.xls: must end with .csv, .json, .parquet"),
    ],
)
def test_wrong_arguments_end_with_one_line_and_exit_code_2(
    capsys, tmp_path, monkeypatch, words, expected
):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert expected in err
    assert err.count("\n") == 1
    assert err.startswith("physopt: ")
    assert out == ""
    assert not list(tmp_path.iterdir()), "nothing is written for a run that cannot be"


@pytest.mark.parametrize(
    ("name", "value"),
    [("JAX_PLATFORMS", "cuda"), ("JAX_DISABLE_JIT", "1"), ("JAX_NUMPY_DTYPE_PROMOTION", "strict")],
)
def test_settings_of_jax_that_no_run_can_have_are_named(tmp_path, name, value):
    words = [f"problem={TINY}", f"rule={DESCENT}", "steps=2", f"out={tmp_path / 'runs'}"]
    ended = subprocess.run(
        [sys.executable, "-m", "physopt", "run", *words],
        env={**os.environ, name: value}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"physopt: {name}=")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_the_version_is_that_of_the_distribution(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"physopt {physopt.__version__}\n"
    citation = (HERE.parent / "CITATION.cff").read_text()
    assert f"\nversion: {physopt.__version__}\n" in citation


def test_a_toml_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "run.toml").write_text('[problem]\nname = "toy"\n', encoding="utf-8-sig")
    assert load_toml(tmp_path / "run.toml") == {"problem": {"name": "toy"}}


def test_a_folder_without_locks_is_named(tmp_path, monkeypatch):
    def acquire(*_, **__):
        raise NotImplementedError("no flock")

    folder = RunFolder(tmp_path)
    monkeypatch.setattr(folder.lock, "acquire", acquire)
    with pytest.raises(OptionError, match="no locks"), folder.held():
        pass


def test_seeds_are_sorted_as_numbers():
    rows = [("p", "r", seed) for seed in ("10", "?", "2", "1")]
    assert [row[2] for row in sorted(rows, key=_by_seed)] == ["1", "2", "10", "?"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--help"], "run [file.toml] problem=NAME rule=NAME"),
        (["run", "--help"], "batch_size=INT"),
        (["run", f"problem={TINY}", "rule=sgd", "--help"], "rule.momentum=FLOAT"),
        (["resume", "--help"], "steps=none|INT"),
        (["sweep", "--help"], "timeout=none|FLOAT"),
        (["tune", "--help"], "trials=INT"),
        (["feasibility", "--help"], "memory_limit=STR"),
        (["info", "sgd"], "divided by grad_norm at the first update"),
        (["status", "--help"], "runs/results"),
        (["check", "--help"], "finite differences"),
        (["info", "muon"], "learning_rate=FLOAT"),
        (["list"], "ldft2d"),
    ],
)
def test_help_teaches(capsys, words, expected):
    assert main(words) == 0
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 90])
def test_help_is_wrapped_once_and_none_is_written_one_way(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(["run", "problem=ldft2d", "rule=hig", "--help"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if "python -m" not in line]
    texts = [line for line in lines if "=" not in line]
    assert max(map(len, texts)) < width
    # No line but the last of a text ends where the first word of the next one fits.
    for line, later in itertools.pairwise(lines):
        indent = len(later) - len(later.lstrip())
        if indent == 26 and line.startswith(" " * 26) and "(default: " not in later:
            assert len(line) + 1 + len(later.split()[0]) >= width
    assert "None" not in out
    assert "{" not in out
    assert "device=none|cpu|gpu|tpu" in out
    assert "batch_size=INT" in out


def run(out, *more):
    return main(["run", f"problem={TINY}", f"rule={DESCENT}", f"out={out}", *more])


def test_a_run_ends_with_table_folder_and_what_to_type_next(capsys, tmp_path):
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "Tiny" / "Descent").iterdir()
    assert "validation_loss" in out
    assert f"folder  {folder}" in out
    assert f"next    python -m physopt resume {folder} steps=40" in out
    assert main(["resume", str(folder), "steps=40"]) == 0
    assert "40 updates" in capsys.readouterr().out
    assert main(["status", str(tmp_path)]) == 0
    assert "ok" in capsys.readouterr().out


@pytest.fixture
def typed(monkeypatch):
    """Return a function that puts a text on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_record_on_standard_input_is_the_run_that_its_words_describe(tmp_path, typed):
    words = [f"problem={TINY}", f"rule={DESCENT}", f"out={tmp_path}", "rule.learning_rate=0.2"]
    typed(json.dumps(from_words(words).record(), default=str))
    assert main(["run", "record=-"]) == 0
    (folder,) = (tmp_path / "Tiny" / "Descent").iterdir()
    ended = (folder / "status.json").read_text()
    assert main(["run", *words]) == 0
    assert (folder / "status.json").read_text() == ended, "it is the same run, finished already"
    typed((folder / "config.json").read_text())
    assert main(["run", "record=-", "force=true"]) == 0
    assert (folder / "status.json").read_text() != ended
    assert len(list(folder.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        (["record=-"], "", "record=-: is no JSON"),
        (["record=-"], "[1]", "problem: the record names no problem"),
        (["record=-", "seed=1"], "{}", "seed=1: record=- takes only force= and debug="),
        (["record=config.json"], "{}", "record=config.json: must be -"),
    ],
)
def test_a_record_that_is_none_is_refused(capsys, typed, words, text, expected):
    typed(text)
    assert main(["run", *words]) == 2
    assert f"physopt: {expected}" in capsys.readouterr().err


def test_values_come_from_files_first_and_the_command_line_last(capsys, tmp_path):
    import physopt

    (tmp_path / "settings.toml").write_text(
        f'seed = 3\nsteps = 5\n[problem]\nname = "{TINY}"\nsize = 2\n'
        f'[rule]\nname = "{DESCENT}"\nlearning_rate = 1\n'
    )
    words = [f"out={tmp_path}", "problem.size=4", "steps=6"]
    assert main(["run", str(tmp_path / "settings.toml"), *words]) == 0
    (folder,) = (tmp_path / "Tiny" / "Descent").iterdir()
    config = physopt.load(folder).config
    assert (config.settings.seed, config.settings.steps) == (3, 6)
    assert config.problem.as_dict()["size"] == 4
    assert config.rule.as_dict()["learning_rate"] == 1.0


def test_a_refusal_exits_with_3_and_its_reason(capsys, tmp_path):
    words = ["run", f"problem={TINY}", f"rule={HERE / 'tiny.py'}:Choosy", f"out={tmp_path}"]
    assert main(words) == 3
    assert "it does not like this problem" in capsys.readouterr().out


def test_a_broken_rule_gives_one_line_and_with_debug_its_traceback(capsys, tmp_path):
    words = ["run", f"problem={TINY}", f"rule={HERE / 'tiny.py'}:Broken", f"out={tmp_path}"]
    assert main(words) == 1
    err = capsys.readouterr().err
    assert "this rule is broken" in err
    assert err.count("\n") == 1
    with pytest.raises(RuntimeError, match="broken"):
        main([*words, "debug=true"])


def test_divergence_is_a_failure_of_the_command(capsys, tmp_path):
    words = ["run", f"problem={TINY}", f"rule={HERE / 'tiny.py'}:Explosive", f"out={tmp_path}"]
    assert main(words) == 1
    assert "status  diverged" in capsys.readouterr().out


def test_status_of_damaged_and_hostile_folders(capsys, tmp_path):
    assert run(tmp_path) == 0
    damaged = tmp_path / "[red]x" / "<script>"
    damaged.mkdir(parents=True)
    (damaged / "config.json").write_text('{"problem": {"name": "[bold]p"}, "rule": 3, "se')
    capsys.readouterr()
    assert main(["status", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "damaged" in out
    assert "<script>" in out


def seen_on_a_terminal(*words):
    """Run a command on a terminal of its own; return all that it writes."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "physopt", *words], stdout=follower, stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    while True:
        try:
            seen += os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    return seen.decode()


def test_a_terminal_shows_which_check_runs():
    text = seen_on_a_terminal("check", DESCENT)
    assert "importing JAX" in text
    assert "checking: " in text
    assert "checks passed" in text.rpartition("\x1b[2K")[2]


def test_a_terminal_sees_a_live_line(tmp_path):
    text = seen_on_a_terminal("run", f"problem={TINY}", f"rule={DESCENT}", f"out={tmp_path}")
    assert "step 20/20" in text
    assert "left" in text
    assert "\x1b[2K" in text, "the line is rewritten in place"
    assert "validation_loss" in text.rpartition("\x1b[2K")[2]
