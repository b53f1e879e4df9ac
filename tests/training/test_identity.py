"""Identity: everything that can change a number of a run is in its run_id, and nothing else is."""

import ast
import functools
import json
import os
import subprocess
import sys
import textwrap
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tiny
from tiny import Descent, Tiny

import physopt
from physopt.config.registry import find, names
from physopt.config.run_config import make_config
from physopt.numerics.keys import key_of
from physopt.options import OptionError
from physopt.records.folder import RunFolder
from physopt.training import identity, session
from physopt.training.data import training_source
from physopt.training.source import SHOWS_ONLY, core, modules, source_of

CORE = session.__name__
PACKAGE = Path(physopt.__file__).parent
PAIRS = [(p, "adam") for p in names("problem")] + [("toy", rule) for rule in names("rule")]


def run_id(problem, rule=None, **given):
    return identity.run_id(make_config(problem, rule or Descent(), given), "cpu")


@functools.cache
def counted():
    """Return {module: (problem, rule) of a run in whose identity it is}."""
    pairs = {}
    for problem, rule in PAIRS:
        config = make_config(find("problem", problem)(), find("rule", rule)(), {})
        for module in identity.source_of_run(config).modules:
            pairs.setdefault(module.name, (problem, rule))
    return pairs


def modules_of_physopt():
    """Yield the dotted names of all files of the package."""
    for folder, below, files in os.walk(PACKAGE, followlinks=True):
        below[:] = [name for name in below if name not in ("notebooks", "example_results")]
        for file in (file for file in files if file.endswith(".py")):
            path = Path(folder, file).relative_to(PACKAGE.parent).with_suffix("")
            yield ".".join(path.parts).removesuffix(".__init__")


def shows_only(name):
    return any(fnmatchcase(name, pattern) for pattern in SHOWS_ONLY)


# --- the files of physopt ----------------------------------------------------------------------


def test_every_module_counts_or_shows_only():
    everything = set(modules_of_physopt())
    assert len(everything) > 60
    shown = {name for name in everything if shows_only(name)}
    assert set(counted()) | shown == everything
    assert not set(counted()) & shown


def test_the_list_names_no_module_that_is_gone():
    everything = list(modules_of_physopt())
    for pattern in SHOWS_ONLY:
        assert any(fnmatchcase(name, pattern) for name in everything), pattern


@pytest.fixture
def edit(monkeypatch, tmp_path):
    """Return a function that puts another text in a module's place."""

    def put(name, text):
        path = tmp_path / Path(str(sys.modules[name].__file__)).name
        path.write_text(text)
        os.utime(path, ns=(0, 0))
        monkeypatch.setattr(sys.modules[name], "__file__", str(path))
        for cache in ("_MODULES", "_CLOSURES"):
            monkeypatch.setattr(modules, cache, {})

    return put


def one_byte_changed(text):
    """Return a source with one character changed, in its last number or else its last name."""
    tree = ast.parse(text)
    numbers = [
        n for n in ast.walk(tree) if isinstance(n, ast.Constant) and type(n.value) in (int, float)
    ]
    nodes = numbers or [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    if not nodes:
        return text + "\nx = 1\n"
    node = max(nodes, key=lambda node: (node.lineno, node.col_offset))
    lines = text.splitlines(keepends=True)
    line = lines[node.lineno - 1].encode()
    at = node.col_offset
    other = {b"1": b"2", b"q": b"p"}.get(line[at : at + 1], b"1" if numbers else b"q")
    lines[node.lineno - 1] = (line[:at] + other + line[at + 1 :]).decode()
    return "".join(lines)


def reworded(text):
    """Return a source without comments and formatting, and with other docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body[0] = ast.Expr(ast.Constant("Something else."))
    return "# A comment.\n\n" + ast.unparse(tree)


@pytest.mark.parametrize("name", sorted(counted()))
def test_a_byte_of_meaning_changes_the_id_and_words_do_not(name, edit):
    problem, rule = (
        find(k, n)() for k, n in zip(("problem", "rule"), counted()[name], strict=True)
    )
    first = run_id(problem, rule)
    text = Path(str(sys.modules[name].__file__)).read_text()
    edit(name, reworded(text))
    assert run_id(problem, rule) == first
    edit(name, one_byte_changed(text))
    assert run_id(problem, rule) != first


def test_the_default_loss_and_the_initial_parameters_count():
    ours = {module.name for module in core().modules}
    assert ours >= {CORE, "physopt.problem", "physopt.training.setup", "physopt.numerics.linalg"}


def test_a_picture_and_a_comment_do_not_count(edit):
    from physopt.problems.ldft import picture

    problem = find("problem", "ldft2d")()
    first = run_id(problem)
    edit(picture.__name__, Path(picture.__file__).read_text().replace("#4a4a4a", "#4b4b4b"))
    assert run_id(problem) == first
    linalg = "physopt.numerics.linalg"
    text = Path(str(sys.modules[linalg].__file__)).read_text()
    edit(linalg, "# A comment.\n" + text)
    assert run_id(problem) == first
    edit(linalg, text + "\nx = 1\n")
    assert run_id(problem) != first


def test_a_rule_and_a_problem_do_not_count_for_one_another():
    ldft = {module.name for module in source_of(find("problem", "ldft2d")).modules}
    assert not any(name.startswith("physopt.optimizers") for name in ldft)
    heat = {module.name for module in source_of(find("problem", "heat")).modules}
    assert not any("ldft" in name for name in heat)
    assert "physopt.problems.fields" in heat


def test_an_id_takes_little_time():
    config = make_config(find("problem", "ldft2d")(), find("rule", "hig")(), {})
    identity.run_id(config, "cpu")
    start = time.process_time()
    for _ in range(20):
        identity.run_id(config, "cpu")
    assert (time.process_time() - start) / 20 < 5e-3


# --- plug-ins ----------------------------------------------------------------------------------

MINE = """
import dataclasses
import solver
from tiny import Tiny

@dataclasses.dataclass(frozen=True)
class Mine(Tiny):
    def simulate(self, x, batch):
        import late
        return solver.gain() * late.GAIN * super().simulate(x, batch)
"""
SOLVER = "from below.deep import GAIN\n\n\ndef gain():\n    return GAIN\n"
FILES = {
    "mine.py": MINE,
    "solver.py": SOLVER,
    "below/deep.py": "GAIN = 1.0\n",
    "late.py": "GAIN = 1\n",
}


@pytest.fixture
def plugin(tmp_path):
    return written(tmp_path / "plugin")


def written(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "mine.py"


def mine(path):
    return find("problem", f"{path}:Mine")()


@pytest.mark.parametrize("name", FILES)
def test_each_file_of_a_plugin_counts_by_its_meaning(plugin, name):
    first = run_id(mine(plugin))
    file = plugin.parent / name
    text = file.read_text()
    file.write_text(reworded(text))
    assert run_id(mine(plugin)) == first
    file.write_text(one_byte_changed(text))
    assert run_id(mine(plugin)) != first


def test_a_file_that_is_not_imported_does_not_count(plugin):
    first = run_id(mine(plugin))
    (plugin.parent / "other.py").write_text("x = 1\n")
    assert run_id(mine(plugin)) == first


def test_the_folder_of_a_plugin_does_not_count(plugin, tmp_path):
    assert run_id(mine(plugin)) == run_id(mine(written(tmp_path / "elsewhere")))


def test_a_living_kernel_runs_what_its_id_says(plugin):
    old = mine(plugin)
    first = run_id(old)
    (plugin.parent / "below" / "deep.py").write_text("GAIN = 2.0\n")
    assert run_id(old) == first  # of the code that this object still runs
    assert source_of(type(old)).edited() == ["below/deep.py"]
    new = mine(plugin)
    assert run_id(new) != first
    batch = new.sample(jax.random.split(key_of(0), 2))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(new.simulate(x, batch), 2 * old.simulate(x, batch))
    (plugin.parent / "below" / "deep.py").write_text("GAIN = 1.0  # again\n")
    assert run_id(mine(plugin)) == first


def test_a_module_of_the_user_s_own_counts_wherever_it_lies(plugin, tmp_path, monkeypatch):
    plugin.write_text("import far_away\n" + MINE)
    (tmp_path / "library").mkdir()
    far = tmp_path / "library" / "far_away.py"
    monkeypatch.syspath_prepend(str(far.parent))
    ids = []
    for text in ("x = 1\n", "x =  1 # same\n", "x = 2\n"):
        far.write_text(text)
        monkeypatch.delitem(sys.modules, "far_away", raising=False)
        plugin.write_text(plugin.read_text() + "# imported anew\n")
        ids.append(run_id(mine(plugin)))
    assert ids[0] == ids[1] != ids[2]


def test_an_installed_package_counts_by_the_modules_it_imports(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "installed_plugin"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(package.parent))
    (package / "__init__.py").write_text("")
    text = MINE.replace("import solver", "from . import solver")
    text = text.replace("import late", "from installed_plugin import late")
    (package / "physics.py").write_text(text)
    (package / "solver.py").write_text("def gain():\n    return 1\n")
    (package / "late.py").write_text("GAIN = 1\n")
    (package.parent / "other_library.py").write_text("x = 1\n")
    cls = find("problem", "installed_plugin.physics:Mine")
    files = {module.name for module in source_of(cls).modules if not module.is_ours}
    parts = ("physics", "solver", "late")
    assert files == {"tiny", "installed_plugin", *(f"installed_plugin.{part}" for part in parts)}
    for name in [name for name in sys.modules if name.startswith("installed_plugin")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_constant_from_the_environment_counts(tmp_path, monkeypatch):
    text = MINE.replace("import solver", "import os\nGAIN = float(os.environ['GAIN_OF_TEST'])")
    text = text.replace("solver.gain() * late.GAIN", "GAIN").replace("        import late\n", "")
    ids = []
    for gain, comment in (("1", "a"), ("1.0", "b"), ("2", "c")):
        monkeypatch.setenv("GAIN_OF_TEST", gain)
        (tmp_path / "mine.py").write_text(f"{text}# {comment}\n")
        ids.append(run_id(mine(tmp_path / "mine.py")))
    assert ids[0] == ids[1] != ids[2]


def test_a_module_edited_before_it_was_read_has_no_source(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "edited_module.py"
    file.write_text(MINE.replace("import solver\n", ""))
    cls = find("problem", "edited_module:Mine")
    time.sleep(0.02)
    file.write_text(file.read_text() + "x = 1\n")
    assert source_of(cls).missing == ("edited_module.py was edited after it was imported",)
    assert identity.fingerprint(cls) is None
    monkeypatch.delitem(sys.modules, "edited_module")
    assert not source_of(find("problem", "edited_module:Mine")).missing


# --- settings ----------------------------------------------------------------------------------


def test_run_id_changes_with_what_decides_the_numbers_alone():
    same = [run_id(Tiny()), *(run_id(Tiny(), **given) for given in (
        {"out": "elsewhere"}, {"force": True}, {"debug": True}, {"profile": True}))]  # fmt: skip
    assert len(set(same)) == 1
    others = [
        run_id(Tiny(), seed=1),
        run_id(Tiny(size=4)),
        run_id(Tiny(), Descent(learning_rate=0.2)),
        run_id(Tiny(), dtype="float64"),
        run_id(Tiny(), devices=2),
        identity.run_id(make_config(Tiny(), Descent(), {}), "gpu"),
    ]
    assert len({same[0], *others}) == 7


def test_settings_of_jax_that_change_numbers_count():
    first = run_id(Tiny())
    for setting in (
        jax.default_matmul_precision("highest"),
        jax.threefry_partitionable(False),
        jax.default_prng_impl("rbg"),
        jax.numpy_dtype_promotion("strict"),
    ):
        with setting:
            assert run_id(Tiny()) != first
    with jax.enable_x64(True):  # each run sets it by its dtype
        assert run_id(Tiny()) == first
    assert run_id(Tiny()) == first


def test_the_streams_do_not_follow_jax_s_default_implementation():
    def drawn():
        return training_source(Tiny(), 3, 4, None).draw(jax.numpy.int32(1)).inputs

    first = drawn()
    with jax.default_prng_impl("rbg"):
        np.testing.assert_array_equal(drawn(), first)
        assert str(jax.random.key_impl(key_of(0))) == "threefry2x32"


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64])
def test_a_seed_that_no_key_holds_is_refused(seed):
    with pytest.raises(OptionError, match=r"seed=.*must be at (least 0|most 4294967295)"):
        make_config(Tiny(), Descent(), {"seed": seed})


def test_every_seed_has_a_stream_of_its_own():
    seeds = (0, 1, 2**31, 2**32 - 1)
    assert len({tuple(jax.random.key_data(key_of(seed)).tolist()) for seed in seeds}) == 4
    make_config(Tiny(), Descent(), {"seed": 2**32 - 1})


# --- runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    path = written(folder / "plugin")
    return path, physopt.run(mine(path), Descent(), steps=5, out=folder / "out")


def again(path, run, **given):
    return physopt.run(mine(path), Descent(), steps=5, out=run.folder.parents[2], **given)


def test_a_finished_run_says_what_is_unchanged(finished, caplog):
    path, run = finished
    before = run.status["time"]
    assert again(path, run).status["time"] == before
    assert f"This run is finished already: {run.folder}" in caplog.text
    files = ", ".join([*sorted(FILES), "tiny.py", "physopt"])
    assert f"Unchanged: settings, source of {files}, jax {jax.__version__}, " in caplog.text
    assert "Made with" not in caplog.text


def test_a_finished_run_made_with_other_versions_says_so(finished, caplog):
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


def test_a_run_keeps_the_source_that_it_ran(finished):
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


def test_a_resumed_run_says_what_has_changed(tmp_path, caplog):
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


def test_a_run_whose_plugin_is_gone_says_where_its_source_is(finished, tmp_path):
    _, run = finished
    record = RunFolder(run.folder).read("config.json")
    record["problem"]["name"] = f"{tmp_path}/gone.py:Mine"
    RunFolder(tmp_path / "run").write("config.json", record)
    RunFolder(tmp_path / "run").write_text("source/gone.py", MINE)
    with pytest.raises(OptionError, match=r"no file .*the source that ran is kept in .*source"):
        physopt.resume(tmp_path / "run")


def test_a_class_without_source_is_run_anew_and_the_reason_given(tmp_path, caplog):
    scope: dict[str, Any] = {"__name__": "nowhere"}
    exec(MINE.replace("import solver", "").replace("solver.gain() * late.GAIN *", "")
         .replace("import late", ""), scope)  # fmt: skip
    steps = []
    for _ in range(2):
        caplog.clear()
        run = physopt.run(scope["Mine"](), Descent(), steps=5, out=tmp_path)
        steps.append((run.folder / "curve.jsonl").stat().st_ino)
        assert "made anew" in caplog.text
        assert "the source of Mine.simulate cannot be read" in caplog.text
        assert "finished already" not in caplog.text
    assert steps[0] != steps[1]


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
    assert physopt.load(folder).config.problem.as_dict()["size"] == 3
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
        physopt.resume(folder, steps=10)
