"""Meaning: the part of a Python source that can change a number, as a hash.

Two sources with the same syntax tree mean the same: comments, blank lines, formatting, quotes and
parentheses do not count. Left out of the tree are

    docstrings, and any other statement that is only a string
    blocks of `if TYPE_CHECKING:` and `if __name__ == "__main__":`, which an import does not execute
    methods `figure(self, x, y, batch)` (physopt.problem.Draws) and `film(self, x, batch)`
    (physopt.training.film.Films), which only draw

The hash depends neither on the version of Python nor on the folder.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple


class Import(NamedTuple):
    """`from ..module import name` has level 2; in `import module` the name is empty."""

    level: int
    module: str
    name: str


class Meaning(NamedTuple):
    """Hash of a source, and its imports, those inside functions included."""

    digest: str
    imports: tuple[Import, ...]


@functools.cache
def meaning(text: str) -> Meaning:
    """Return hash and imports of a source. Raises SyntaxError if it is not one."""
    return meaning_of(ast.parse(text))


def meaning_of(tree: ast.AST) -> Meaning:
    """Return hash and imports of a syntax tree."""
    words: list[str] = []
    imports: dict[Import, None] = {}
    _write(tree, words, imports)
    digest = hashlib.sha256("\n".join(words).encode("utf-8", "backslashreplace")).hexdigest()
    return Meaning(digest, tuple(imports))


def _write(node: ast.AST, words: list[str], imports: dict[Import, None]) -> None:
    """Append a node to the words: its type, and each field that is neither empty nor None.

    Empty fields are left out because later versions of Python add some (type parameters).
    """
    words.append(type(node).__name__)
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
        imports.update(dict.fromkeys(_imported(node)))
    for field in node._fields:
        value: Any = getattr(node, field, None)
        if value is None or value == [] or field in ("kind", "type_comment"):
            continue
        words.append(field)
        if isinstance(value, list):
            if field in ("body", "orelse", "finalbody"):
                value = _counting(value)
            elif isinstance(node, ast.JoinedStr):  # Python 3.12 adds empty pieces to f-strings
                value = (v for v in value if not isinstance(v, ast.Constant) or v.value)
            for item in value:
                _write_value(item, words, imports)
        else:
            _write_value(value, words, imports)
    words.append(".")


def _write_value(value: Any, words: list[str], imports: dict[Import, None]) -> None:
    if isinstance(value, ast.AST):
        _write(value, words, imports)
    else:
        words.append(repr(value))


def _counting(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that can change a number."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue  # docstrings, an ellipsis
        if isinstance(node, ast.FunctionDef) and only_draws(
            node.name, (argument.arg for argument in node.args.args)
        ):
            continue
        if isinstance(node, ast.If) and _is_skipped_by_import(node.test):
            yield from _counting(node.orelse)
            continue
        yield node


_DRAWS = {("figure", "self", "x", "y", "batch"), ("film", "self", "x", "batch")}


def only_draws(name: str, arguments: Iterable[str]) -> bool:
    """Return whether a method is that of Draws or Films."""
    return (name, *arguments) in _DRAWS


def _is_skipped_by_import(test: ast.expr) -> bool:
    if isinstance(test, ast.Compare) and _name(test.left) == "__name__":
        other = test.comparators[0]
        return isinstance(other, ast.Constant) and other.value == "__main__"
    return _name(test) == "TYPE_CHECKING"


def _imported(node: ast.Import | ast.ImportFrom | ast.Call) -> Iterator[Import]:
    """Yield the imports of a node; `import_module("name")` is one too."""
    if isinstance(node, ast.Import):
        yield from (Import(0, alias.name, "") for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (Import(node.level, node.module or "", alias.name) for alias in node.names)
    elif _name(node.func) in ("import_module", "__import__") and node.args:
        argument = node.args[0]
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield Import(0, argument.value, "")


def _name(node: ast.expr) -> str:
    """Return the last part of a dotted name, "" for any other expression."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
