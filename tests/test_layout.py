"""The layout: which file may import what, and what an installed copy holds."""

import ast
import graphlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from nightly import nightly_cases

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("physopt", "problems", "optimizers", "analysis")

LAW = (
    ("options", "numerics"),
    ("records", "machine"),
    ("problem",),
    ("rule", "networks", "profiling"),
    ("objective",),
    ("problems", "optimizers"),
    ("config",),
    ("training",),
    ("analysis",),
    ("sweeping",),
    ("checking", "feasibility"),
    ("commands",),
    ("script", "cli"),
    ("__main__",),
)
"""The packages from the lowest floor to the highest: none imports from its own floor or above.

The entry `physopt/__init__.py` names what it offers without importing it. `analysis` reads records
and may take from physopt nothing but options and records.
"""

FLOOR = {package: floor for floor, packages in enumerate(LAW) for package in packages}
ANALYSIS_TAKES = {"options", "records", "analysis"}


def modules():
    """Yield (dotted name, imported physopt modules, path) of every source file."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if any(parent.is_symlink() for parent in path.parents) or "notebooks" in path.parts:
                continue
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if folder == "physopt" else ("physopt", *parts))
            yield name.removesuffix(".__init__"), set(imports(path)), path


def imports(path):
    """Yield the modules that a file imports when it runs, those for type checkers left out."""
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


ALL = list(modules())
NAMES = {name for name, _, _ in ALL}


def within(name, package):
    return name == package or name.startswith(package + ".")


def test_the_folders_hold_what_the_design_names():
    assert len(ALL) > 20
    for link in ("problems", "optimizers", "analysis"):
        path = ROOT / "physopt" / link
        assert path.is_symlink()
        assert os.readlink(path) == f"../{link}"


def packages(imported):
    """The packages of physopt that a file imports from; `from physopt import Batch` names none."""
    parts = (name.split(".") for name in imported if within(name, "physopt"))
    return {names[1] for names in parts if len(names) > 1 and names[1] in FLOOR}


@pytest.mark.parametrize(
    ("name", "imported"), [(n, i) for n, i, _ in ALL], ids=[n for n, _, _ in ALL]
)
def test_imports_run_one_way(name, imported):
    bare = {i for i in imported if i.split(".")[0] in ("problems", "optimizers", "analysis")}
    assert not bare, f"import physopt.{bare}"
    if name == "physopt":
        return
    own = name.split(".")[1]
    above = {other for other in packages(imported) - {own} if FLOOR[other] >= FLOOR[own]}
    assert not above, f"{own} may not import {above}"
    if own == "analysis":
        assert packages(imported) <= ANALYSIS_TAKES
    if packages(imported) & {"problems", "optimizers"} and own not in ("problems", "optimizers"):
        assert name == "physopt.config.registry" or own == "commands"


def test_no_circle_inside_a_package():
    def inside(name, imported):
        """The modules of its own package, but for packages named on the way to a module."""
        package = name.split(".")[1]
        modules = {i for i in imported & NAMES if i.split(".")[1:2] == [package]} - {name}
        return {m for m in modules if not any(within(i, m) for i in modules - {m})}

    within_package = {name: inside(name, i) for name, i, _ in ALL if name != "physopt"}
    graphlib.TopologicalSorter(within_package).prepare()  # raises CycleError


def test_every_package_has_a_floor():
    assert {name.split(".")[1] for name in NAMES if name != "physopt"} == set(FLOOR)


def test_a_wheel_holds_every_module_once(tmp_path):
    # A copy: an old build/ folder would put modules into the wheel that are there no more.
    leave = shutil.ignore_patterns(".*", "build", "results", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "source", symlinks=True, ignore=leave)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*build, str(tmp_path / "source")], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    everything = zipfile.ZipFile(wheel).namelist()
    assert "physopt/analysis/report/page/page.js" in everything
    assert not [n for n in everything if "example_results" in n or "notebooks" in n]
    packed = [n for n in everything if n.endswith(".py")]
    expected = {name.replace(".", "/") for name, _, _ in ALL}
    found = [n.removesuffix(".py").removesuffix("/__init__") for n in packed]
    assert sorted(found) == sorted(expected)


def test_nightly_tests_exist():
    """A test that was renamed would otherwise run with every change again, without notice."""
    for name in nightly_cases():
        file, _, test = name.partition("::")
        assert f"def {test.split('::')[-1]}(" in (ROOT / "tests" / file).read_text(), name
