"""Plug-ins with helper modules, and edits of a source, for the tests of a run's identity."""

import ast

from tiny import Descent

from physopt.config.registry import find
from physopt.config.run_config import make_config
from physopt.training import identity

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


def run_id(problem, rule=None, **given):
    return identity.run_id(make_config(problem, rule or Descent(), given), "cpu")


def one_byte_changed(text):
    """Return a source with one character changed, in its last number or else its last name.

    Pictures, which are no part of a run's identity, are left as they are.
    """
    tree = ast.parse(text)
    pictures = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == "figure"
    ]
    drawn = {id(part) for node in pictures for part in ast.walk(node)}
    numbers = [
        n
        for n in ast.walk(tree)
        if id(n) not in drawn and isinstance(n, ast.Constant) and type(n.value) in (int, float)
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


def written(folder):
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "mine.py"


def mine(path):
    return find("problem", f"{path}:Mine")()
