"""Meaning: which edits change the hash of a source, and which do not."""

import ast

import pytest

from physopt.training.source.meaning import Import, meaning

SOURCE = '''
"""A module."""
import numpy as np

RATE = 0.5  # per second


class Pendulum(Base):
    """A pendulum."""

    gravity: float = 9.81
    """In m/s^2."""

    def simulate(self, x, batch):
        """Swing."""
        from helper import step
        return f"{x:>{8}}" + step(x, np.pi, [1, 2], key="value")

    def figure(self, x, y, batch):
        """Draw."""
        import matplotlib
        return matplotlib.plot(x, color="red")

    def film(self, x, batch):
        """Draw."""
        return {"reached": 0.1 * x}
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# per second", "# each second"),
        ('"""A pendulum."""', '"""A double pendulum."""'),
        ('"""Swing."""', ""),
        ('"""In m/s^2."""', ""),
        ("[1, 2], key", "[\n            1,\n            2,\n        ],\n            key"),
        ('"value"', "'value'"),
        ("return f", "\n\n        return f"),
        ("0.5", "5e-1"),
        ('color="red"', 'color="blue"'),
        ("0.1 * x", "0.2 * x"),
        ("import numpy as np\n", "import numpy as np\nif TYPE_CHECKING:\n    import helper\n"),
        ("import numpy as np\n", 'import numpy as np\nif __name__ == "__main__":\n    run()\n'),
    ],
)
def test_edits_that_cannot_change_a_number_keep_the_hash(old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new)) == meaning(SOURCE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.5", "0.6"),
        ("9.81", "9.8"),
        ("np.pi", "np.e"),
        ("[1, 2]", "(1, 2)"),
        ("[1, 2]", "[2, 1]"),
        ("from helper", "from other"),
        ('"value"', 'b"value"'),
        ("1, 2", "1, 2.0"),
        ("1, 2", "1, -2"),
        ("{8}", "{9}"),
        ("Pendulum(Base)", "Pendulum(Other)"),
        ("RATE = 0.5", "RATE = 0.5\nRATE = 1"),
        ("    def simulate", "    @jit\n    def simulate"),
        ("figure(self, x, y, batch)", "figure(self, x)"),  # another method of that name
        ("film(self, x, batch)", "film(self, x, y, batch)"),
    ],
)
def test_all_other_edits_change_the_hash(old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new)).digest != meaning(SOURCE).digest


def test_imports_are_found_at_every_depth():
    text = """
import a.b, c as d
from e import f
from .g import h
from .. import i
def function():
    import j
    if True:
        from k.l import *
    importlib.import_module("m.n")
    import_module(variable)
if TYPE_CHECKING:
    import o
"""
    assert set(meaning(text).imports) == {
        *(Import(0, "a.b", ""), Import(0, "c", ""), Import(0, "e", "f"), Import(1, "g", "h")),
        *(Import(2, "", "i"), Import(0, "j", ""), Import(0, "k.l", "*"), Import(0, "m.n", "")),
    }


def test_the_hash_does_not_depend_on_the_version_of_python():
    assert meaning(ast.unparse(ast.parse(SOURCE))) == meaning(SOURCE)
    assert meaning(SOURCE).digest.startswith("80afa4ae4504")  # in 3.11, 3.12 and 3.13
