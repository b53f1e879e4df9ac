"""Identity of plug-ins: the code of their files and helpers, as it was imported."""

import sys
import time

import jax
import numpy as np
import pytest
from training.identity_cases import FILES, MINE, mine, one_byte_changed, reworded, run_id, written

from physopt.config.registry import find
from physopt.numerics.keys import key_of
from physopt.training import identity
from physopt.training.source import source_of


@pytest.fixture
def plugin(tmp_path):
    return written(tmp_path / "plugin")


@pytest.mark.parametrize("name", FILES)
def test_the_code_of_each_file_of_a_plugin_is_in_the_identity(plugin, name):
    first = run_id(mine(plugin))
    file = plugin.parent / name
    text = file.read_text()
    file.write_text(reworded(text))
    assert run_id(mine(plugin)) == first
    file.write_text(one_byte_changed(text))
    assert run_id(mine(plugin)) != first


def test_a_file_that_is_not_imported_is_not_in_the_identity(plugin):
    first = run_id(mine(plugin))
    (plugin.parent / "other.py").write_text("x = 1\n")
    assert run_id(mine(plugin)) == first


def test_the_folder_of_a_plugin_is_not_in_the_identity(plugin, tmp_path):
    assert run_id(mine(plugin)) == run_id(mine(written(tmp_path / "elsewhere")))


def test_the_id_matches_the_code_that_runs_after_an_edit(plugin):
    old = mine(plugin)
    first = run_id(old)
    (plugin.parent / "below" / "deep.py").write_text("GAIN = 2.0\n")
    assert run_id(old) == first  # this object still runs the old code
    assert source_of(type(old)).edited() == ["below/deep.py"]
    new = mine(plugin)
    assert run_id(new) != first
    batch = new.sample(jax.random.split(key_of(0), 2))
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(new.simulate(x, batch), 2 * old.simulate(x, batch))
    (plugin.parent / "below" / "deep.py").write_text("GAIN = 1.0  # again\n")
    assert run_id(mine(plugin)) == first


def test_user_modules_are_in_the_identity_wherever_they_are(plugin, tmp_path, monkeypatch):
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


def test_an_installed_package_is_identified_by_the_modules_it_imports(tmp_path, monkeypatch):
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


def test_constants_from_the_environment_are_in_the_identity(tmp_path, monkeypatch):
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
