"""Plug-ins: files of a user's own, with helpers beside them."""

import os
import pickle
import sys
import typing

import pytest

from physopt.config.plugins import edited, file_in_import, import_file, imported_text
from physopt.config.registry import find, name_of
from physopt.options import OptionError

HELPER = "GAIN = {}\n"
MINE = """
from __future__ import annotations

import helper


def gain():
    return helper.GAIN


def late():
    import later
    from later import VALUE
    return later.VALUE + VALUE
"""


def write(folder, **files):
    folder.mkdir(exist_ok=True, parents=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture
def plugin(tmp_path):
    return (
        write(tmp_path / "a", mine=MINE, helper=HELPER.format(1), later="VALUE = 10\n") / "mine.py"
    )


def test_a_helper_is_found_from_any_folder_and_the_path_is_restored(plugin, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])  # as a script has it
    before = list(sys.path)
    write(plugin.parent, seen="import sys\nPATH = list(sys.path)\n")
    assert import_file(plugin).gain() == 1
    assert str(plugin.parent) in import_file(plugin.parent / "seen.py").PATH
    assert sys.path == before
    assert "helper" not in sys.modules


def test_the_path_is_restored_after_an_error(tmp_path):
    before = list(sys.path)
    broken = write(tmp_path, broken="import helper_that_is_nowhere\n") / "broken.py"
    with pytest.raises(ModuleNotFoundError, match="helper_that_is_nowhere"):
        import_file(broken)
    assert sys.path == before
    write(tmp_path, helper_that_is_nowhere="")
    import_file(broken)


def test_an_import_inside_a_function_finds_the_helper_later(plugin):
    assert import_file(plugin).late() == 20


def test_helpers_of_one_name_do_not_meet(plugin, tmp_path):
    other = write(tmp_path / "b", mine=MINE, helper=HELPER.format(2), later="VALUE = 7\n")
    first, second = import_file(plugin), import_file(other / "mine.py")
    assert (first.gain(), second.gain()) == (1, 2)
    assert (first.late(), second.late()) == (20, 14)
    assert import_file(plugin) is first


def test_a_module_of_the_same_name_that_is_loaded_stays_what_it_is(plugin, monkeypatch):
    mine = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "helper", mine)
    assert import_file(plugin).gain() == 1
    assert sys.modules["helper"] is mine


def test_helpers_may_be_packages_and_import_one_another(tmp_path):
    write(
        tmp_path / "solver",
        __init__="from solver.core import x\n",
        core="import util\nx = util.x\n",
    )
    write(
        tmp_path / "plain", part="from . import other\nimport plain.other as o\n", other="y = 5\n"
    )
    text = "import solver.core as core\nimport plain.part\nfrom solver import x\nimport os.path\n"
    mine = import_file(write(tmp_path, mine=text, util="x = 3\n") / "mine.py")
    assert (mine.x, mine.core.x, mine.plain.part.o.y, mine.plain.part.other.y) == (3, 3, 5, 5)
    assert mine.os is os


@pytest.mark.parametrize("name", ["mine", "helper"])
def test_an_edited_file_is_imported_anew_within_the_same_second(plugin, name):
    old = import_file(plugin)
    path = plugin.parent / f"{name}.py"
    status = path.stat()
    path.write_text(path.read_text().replace("1", "5").replace("helper.GAIN", "helper.GAIN "))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    new = import_file(plugin)
    assert new is not old
    assert new.gain() == (5 if name == "helper" else 1)
    assert old.gain() == 1
    assert import_file(plugin) is new


def test_an_old_module_keeps_its_text(plugin):
    old = import_file(plugin)
    text = plugin.read_text()
    assert not edited(old)
    plugin.write_text(text + "NEW = 1\n")
    assert edited(old)
    new = import_file(plugin)
    assert imported_text(old) == text
    assert imported_text(new) == text + "NEW = 1\n"
    assert not edited(new)


def test_a_class_keeps_its_annotations_and_can_be_pickled(tmp_path):
    text = (
        "from __future__ import annotations\nimport dataclasses\nfrom base import Base\n"
        "@dataclasses.dataclass(frozen=True)\nclass Mine(Base):\n    size: Count = 3\n"
        "from base import Count\n"
    )
    base = (
        "from __future__ import annotations\nimport dataclasses\nCount = int\n"
        "@dataclasses.dataclass(frozen=True)\nclass Base:\n    width: Count = 2\n"
    )
    cls = import_file(write(tmp_path, mine=text, base=base) / "mine.py").Mine
    assert typing.get_type_hints(cls) == {"size": int, "width": int}
    assert pickle.loads(pickle.dumps(cls(5))) == cls(5)


def test_a_class_is_found_again_by_its_name(tmp_path):
    text = "from tiny import Tiny\nclass Mine(Tiny):\n    pass\n"
    path = write(tmp_path, mine=text) / "mine.py"
    cls = find("problem", f"{path}:Mine")
    assert name_of("problem", cls) == f"{path}:Mine"
    assert find("problem", name_of("problem", cls)) is cls


def test_a_file_is_in_import_only_then(tmp_path):
    text = "from physopt.config.plugins import file_in_import\nFILE = file_in_import(__name__)\n"
    module = import_file(write(tmp_path, mine=text) / "mine.py")
    assert str(tmp_path / "mine.py") == module.FILE
    assert file_in_import(module.__name__) is None
    assert file_in_import("physopt") is None


def test_a_class_of_another_session_is_explained():
    with pytest.raises(OptionError, match=r"save it in a file: file\.py:Gone"):
        find("problem", "__main__:Gone")
