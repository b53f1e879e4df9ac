"""The layout: which file may import what, and what an installed copy holds."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("physopt", "problems", "optimizers", "analysis")
SEES_BOTH = {"physopt.registry"}


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
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


ALL = list(modules())


def within(name, package):
    return name == package or name.startswith(package + ".")


def test_the_folders_hold_what_the_design_names():
    assert len(ALL) > 20
    for link in ("problems", "optimizers", "analysis"):
        path = ROOT / "physopt" / link
        assert path.is_symlink()
        assert os.readlink(path) == f"../{link}"


@pytest.mark.parametrize(
    ("name", "imported"), [(n, i) for n, i, _ in ALL], ids=[n for n, _, _ in ALL]
)
def test_imports_run_one_way(name, imported):
    bare = {i for i in imported if i.split(".")[0] in ("problems", "optimizers", "analysis")}
    assert not bare, f"import physopt.{bare}"
    problems = any(within(i, "physopt.problems") for i in imported)
    optimizers = any(within(i, "physopt.optimizers") for i in imported)
    if within(name, "physopt.problems"):
        assert not optimizers, "a problem never knows which rule trains it"
    if within(name, "physopt.optimizers"):
        assert not problems, "a rule sees physics through the objective alone"
    if within(name, "physopt.analysis"):
        assert not problems, "analysis reads records, never physics"
        assert not optimizers
    if not within(name, "physopt.problems") and not within(name, "physopt.optimizers"):
        assert not (problems or optimizers) or name in SEES_BOTH
    if name != "physopt.__main__":
        assert not any(within(i, "physopt.cli") for i in imported)


def test_a_wheel_holds_every_module_once(tmp_path):
    # A copy: an old build/ folder would put modules into the wheel that are there no more.
    leave = shutil.ignore_patterns(".*", "build", "results", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tmp_path / "source", symlinks=True, ignore=leave)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*build, str(tmp_path / "source")], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    everything = zipfile.ZipFile(wheel).namelist()
    assert "physopt/analysis/page/page.js" in everything
    assert not [n for n in everything if "example_results" in n or "notebooks" in n]
    packed = [n for n in everything if n.endswith(".py")]
    expected = {name.replace(".", "/") for name, _, _ in ALL}
    found = [n.removesuffix(".py").removesuffix("/__init__") for n in packed]
    assert sorted(found) == sorted(expected)
