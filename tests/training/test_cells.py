"""Identity of classes that are defined in notebook cells, without a file."""

import itertools
import linecache
import sys
import types

import pytest
from tiny import Descent

from physopt.config.run_config import make_config
from physopt.training import identity
from physopt.training.source import source_of

IMPORTS = """
import dataclasses
import functools
import jax
import jax.numpy as jnp
import numpy as np

from tiny import Tiny
"""
CLASS = """
@dataclasses.dataclass(frozen=True)
class Mine(Tiny):
    def simulate(self, x, batch):
        return GAIN * scaled(x)
"""
HELPERS = """
def scaled(x):
    return power(x) * TABLE[1]

@jax.jit
def power(x):
    return x ** EXPONENT
"""
VALUES = "GAIN = 2.0\nEXPONENT = 1\nTABLE = np.arange(3.0)\nunrelated = 1"
CELLS = (IMPORTS, CLASS, HELPERS, VALUES)

count = itertools.count()


def run_cells(monkeypatch, *cells, kept=True):
    """Run cells as a notebook does; return its names."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    for text in cells:
        file = f"<ipython-input-{next(count)}>"
        if kept:
            monkeypatch.setitem(
                linecache.cache, file, (len(text), None, text.splitlines(True), file)
            )
        exec(compile(text, file, "exec"), vars(module))
    return module


def run_id(cls):
    return identity.run_id(make_config(cls(), Descent(), {}), "cpu")


def of_cells(monkeypatch, *cells):
    return run_id(run_cells(monkeypatch, *cells).Mine)


@pytest.mark.parametrize(
    ("cell", "old", "new"),
    [
        (CLASS, "GAIN *", "GAIN +"),
        (CLASS, "frozen=True", "frozen=True, order=True"),
        (HELPERS, "TABLE[1]", "TABLE[2]"),
        (HELPERS, "x **", "x *"),
        (VALUES, "2.0", "2.5"),
        (VALUES, "EXPONENT = 1", "EXPONENT = 2"),
        (VALUES, "arange(3.0)", "arange(4.0)"),
    ],
)
def test_everything_a_class_refers_to_is_in_its_identity(monkeypatch, cell, old, new):
    first = of_cells(monkeypatch, *CELLS)
    changed = [text.replace(old, new) if text is cell else text for text in CELLS]
    assert changed != list(CELLS)
    assert of_cells(monkeypatch, *changed) != first


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("class Mine", "# A comment.\nclass Mine"),
        ("        return GAIN", '        """Solve."""\n\n        return GAIN'),
        ("unrelated = 1", "unrelated = 2"),
        ("def scaled", "def other():\n    return unrelated\n\ndef scaled"),
    ],
)
def test_nothing_else_is_in_the_identity(monkeypatch, old, new):
    first = of_cells(monkeypatch, *CELLS)
    changed = [text.replace(old, new) for text in CELLS]
    assert changed != list(CELLS)
    assert of_cells(monkeypatch, *changed) == first
    assert of_cells(monkeypatch, "\n".join(CELLS)) == first  # the same source in a single cell


def test_rerunning_an_edited_cell_changes_the_identity(monkeypatch):
    notebook = run_cells(monkeypatch, *CELLS)
    first = run_id(notebook.Mine)
    exec("GAIN = 3.0", vars(notebook))
    assert run_id(notebook.Mine) != first
    exec("GAIN = 2.0", vars(notebook))
    assert run_id(notebook.Mine) == first


def test_bases_and_classes_without_methods_are_in_the_identity(monkeypatch):
    below = (
        "@dataclasses.dataclass(frozen=True)\nclass Below(Mine):\n"
        "    size: int = 4\n    tiny = {'a': 1}\n"
    )
    first = run_id(run_cells(monkeypatch, *CELLS, below).Below)
    assert run_id(run_cells(monkeypatch, *CELLS, below).Below) == first
    for old, new in (("'a': 1", "'a': 2"), ("class Below(Mine)", "class Below(Tiny)")):
        assert run_id(run_cells(monkeypatch, *CELLS, below.replace(old, new)).Below) != first
    changed = CLASS.replace("GAIN *", "GAIN +")
    assert run_id(run_cells(monkeypatch, IMPORTS, changed, HELPERS, VALUES, below).Below) != first


def test_closure_values_are_in_the_identity(monkeypatch):
    text = (
        "def make(gain):\n    @dataclasses.dataclass(frozen=True)\n    class Mine(Tiny):\n"
        "        def simulate(self, x, batch):\n            return gain * x\n    return Mine\n"
    )
    make = run_cells(monkeypatch, IMPORTS, text).make
    assert run_id(make(1.0)) == run_id(make(1.0)) != run_id(make(2.0))


def test_modules_imported_by_a_cell_are_in_the_identity(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    text = CLASS.replace("scaled(x)", "helper_of_cell.scaled(x)")
    ids = []
    for factor in (2, 3):
        (tmp_path / "helper_of_cell.py").write_text(f"def scaled(x):\n    return {factor}  * x\n")
        monkeypatch.delitem(sys.modules, "helper_of_cell", raising=False)
        cells = (IMPORTS + "import helper_of_cell\n", text, "GAIN = 2.0")
        ids.append(of_cells(monkeypatch, *cells))
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("value", "same", "other"),
    [
        ("[1, {'a': (2, 3)}]", "[1, {'a': (2, 3)}]", "[1, {'a': (2, 4)}]"),
        ("{3, 1, 2}", "{1, 2, 3}", "{1, 2}"),
        ("jnp.ones(3)", "jnp.ones(3)", "jnp.zeros(3)"),
        ("functools.partial(max, 1)", "functools.partial(max, 1)", "functools.partial(max, 2)"),
        ("lambda x: x + 1", "lambda x: (x + 1)", "lambda x: x + 2"),
        ("Tiny(size=3)", "Tiny()", "Tiny(size=4)"),
        ("np.random.default_rng(1)", "np.random.default_rng(1)", "np.random.default_rng(2)"),
    ],
)
def test_values_of_many_types_are_in_the_identity(monkeypatch, value, same, other):
    ids = [of_cells(monkeypatch, IMPORTS, CLASS, "scaled = abs", f"GAIN = {text}")
           for text in (value, same, other)]  # fmt: skip
    assert ids[0] == ids[1] != ids[2]


def test_both_passes_of_a_custom_derivative_are_in_the_identity(monkeypatch):
    text = (
        "@jax.custom_vjp\ndef scaled(x):\n    return x\n"
        "scaled.defvjp(lambda x: (x, None), lambda _, g: (FACTOR * g,))\nFACTOR = {}\n"
    )
    ids = [of_cells(monkeypatch, IMPORTS, CLASS, "GAIN = 1", text.format(f)) for f in (1, 1, 2)]
    assert ids[0] == ids[1] != ids[2]


def test_objects_without_source_are_named(monkeypatch):
    notebook = run_cells(monkeypatch, *CELLS, kept=False)
    assert source_of(notebook.Mine).missing[0] == "the source of Mine.simulate cannot be read"
    opened = run_cells(monkeypatch, IMPORTS, CLASS, "scaled = abs", "GAIN = open('/dev/null')")
    assert source_of(opened.Mine).missing == (
        "GAIN holds a TextIOWrapper, whose content cannot be read",
    )
    assert not source_of(run_cells(monkeypatch, *CELLS).Mine).missing


def test_the_source_copy_contains_cells_and_values(monkeypatch):
    copies = source_of(run_cells(monkeypatch, *CELLS).Mine).copies()
    assert set(copies) == {"cells.py", "tiny.py"}
    for text in (CLASS.strip(), "def scaled(x):", "@jax.jit\ndef power(x):", "GAIN = 2.0"):
        assert text in copies["cells.py"]
    assert "unrelated" not in copies["cells.py"]
