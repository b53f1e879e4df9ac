"""Source: the code that a problem, a rule or a whole run is made of.

A class is made of its own module, those of its bases, and every module that these import, at any
depth and inside functions too, as long as it is

    a module of physopt that is not in `SHOWS_ONLY`
    a module of the package that defines the class, wherever it is installed
    any other module outside Python's library folders: the user's own

Libraries count by their versions (physopt.records.environment). `cells` describes code that is in
no file, such as a notebook's; `meaning` hashes the part of a file that can change a number.
"""

import hashlib
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass

from physopt.options import Options
from physopt.training.source.cells import Cell, Cells, in_cell
from physopt.training.source.modules import SHOWS_ONLY, Module, closure, head_of, is_own, lost

__all__ = ["SHORT", "SHOWS_ONLY", "Source", "core", "source_of"]

CORE = "physopt.training.session"
"""The module whose imports, at any depth, train and evaluate a run."""

SHORT = 8
"""Hex digits of a hash that a person reads."""

_STARTED = time.time_ns()


@dataclass(frozen=True)
class Source:
    """The source of classes, or of physopt's own part of a run."""

    modules: tuple[Module, ...] = ()
    cells: tuple[Cell, ...] = ()
    missing: tuple[str, ...] = ()
    """Reasons why part of the source is unknown."""

    def __add__(self, other: "Source") -> "Source":
        pairs = zip(_parts(self), _parts(other), strict=True)
        return Source(*(tuple(dict.fromkeys(a + b)) for a, b in pairs))

    def digest(self) -> str:
        """Return the hash of what the source means."""
        return _digest((part.label, part.digest) for part in (*self.modules, *self.cells))

    def versions(self) -> dict[str, str]:
        """Return {file: short hash}; the modules of physopt count as one file."""
        versions = {m.file: m.digest[:SHORT] for m in self.modules if not m.is_ours}
        if cells := [(cell.label, cell.digest) for cell in self.cells if cell.text]:
            versions["cells"] = _digest(cells)[:SHORT]
        ours = [(m.label, m.digest) for m in self.modules if m.is_ours]
        return versions | ({"physopt": _digest(ours)[:SHORT]} if ours else {})

    def copies(self) -> dict[str, str]:
        """Return {file: text} of what is not part of physopt."""
        texts: dict[str, str] = {}
        for module in self.modules:
            if module.is_ours or module.path.suffix != ".py":
                continue
            file = module.file
            while texts.get(file, module.text) != module.text:  # two files of one name
                file = f"{module.path.parent.name}/{file}"
            texts[file] = module.text
        if cells := [cell.text for cell in self.cells if cell.text]:
            texts["cells.py"] = "\n\n\n".join(cells) + "\n"
        return texts

    def edited(self) -> list[str]:
        """Name the user's files that now differ from what was imported."""
        return [m.file for m in self.modules if not m.is_ours and m.is_edited()]


def core() -> Source:
    """Return physopt's own part of every run: training, evaluation, numerics and networks."""
    modules = closure((CORE,), frozenset())
    return Source(modules, missing=lost(modules, _STARTED))


def source_of(cls: type) -> Source:
    """Return the source of a problem's or a rule's class."""
    described, roots, homes = Cells(), [], set()
    for base in cls.__mro__:
        if head_of(base.__module__) in sys.stdlib_module_names:
            continue
        if in_cell(base):
            described.add(base, base.__qualname__, strict=True)
            continue
        roots.append(base.__module__)
        if issubclass(base, Options):  # not a library's base class
            homes.add(head_of(base.__module__))
    if not in_cell(cls) and head_of(cls.__module__) != "physopt":
        described.add(cls, cls.__qualname__, strict=False, home=cls.__module__)
    roots += sorted(name for name in described.modules if is_own(name, frozenset(homes)))
    modules = closure(tuple(roots), frozenset(homes))
    missing = (*described.missing, *lost(modules, getattr(cls, "defined_at", None)))
    return Source(modules, tuple(described.found.values()), missing)


def _parts(source: Source) -> tuple[tuple, tuple, tuple]:
    return source.modules, source.cells, source.missing


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(repr(sorted(pairs)).encode()).hexdigest()
