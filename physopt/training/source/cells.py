"""Cells: the source of classes that are defined in no file, and values that no file holds.

The code of a notebook cell or of an interactive session is in no file. A class defined there is
described by its definition and by what its code refers to: functions and classes of other cells by
their definitions, constants by their values, modules by their names.

A class of a script or of a plug-in is in a file, but numbers that its code refers to may have come
from the command line or the environment (GAIN = float(sys.argv[1])). They count by their values.
"""

import ast
import contextlib
import dataclasses
import dis
import functools
import hashlib
import inspect
import linecache
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from physopt.training.source.meaning import meaning_of, only_draws

_BY_DATACLASS = ("<string>", dataclasses.__file__)
_SCALARS = (bool, int, float, complex, str, bytes, type(None), Path)


class Cell(NamedTuple):
    """A definition or a value that belongs to a class."""

    label: str
    digest: str
    text: str  # empty for the value of a constant whose definition is in a file


@dataclasses.dataclass
class Cells:
    """What belongs to a class, collected by `add`."""

    found: dict[str, Cell] = dataclasses.field(default_factory=dict)
    modules: set[str] = dataclasses.field(default_factory=set)
    """Modules referred to, libraries included."""
    missing: list[str] = dataclasses.field(default_factory=list)
    """What cannot be described, and why."""
    _seen: dict[int, Any] = dataclasses.field(default_factory=dict)

    def add(self, value: Any, label: str, *, strict: bool, home: str = "") -> None:
        """Add a value, and all that it refers to.

        strict: whether every value counts, as in a cell, or only plain numbers and texts, where a
        file holds the rest. home: the file's module, whose functions are followed.
        """
        if isinstance(value, _SCALARS) or (not strict and _is_plain(value)):
            self._add_value(label, repr(value), shown=strict)
        if isinstance(value, (*_SCALARS, np.dtype)) or id(value) in self._seen:
            return
        self._seen[id(value)] = value  # holds it, so that no other object gets its id
        if isinstance(value, ModuleType):
            self.modules.add(value.__name__)
        elif isinstance(value, type):
            self._add_class(value, home)
        elif isinstance(value, FunctionType):
            self._add_function(value, home)
        elif isinstance(value, staticmethod | classmethod):
            self.add(value.__func__, label, strict=strict, home=home)
        elif isinstance(value, property):
            self.add(value.fget, label, strict=strict, home=home)
        elif isinstance(value, functools.cached_property):
            self.add(value.func, label, strict=strict, home=home)
        elif hasattr(value, "__wrapped__"):  # jax.jit, jax.custom_vjp and their like
            parts = [value.__wrapped__, *getattr(value, "__dict__", {}).values()]
            for part in filter(callable, parts):
                self.add(part, label, strict=strict, home=home)
        elif strict:
            self._add_object(value, label, home)

    def _add_object(self, value: Any, label: str, home: str) -> None:
        """Add a value of a cell that is neither a number nor code."""
        add = functools.partial(self.add, strict=True, home=home)
        if isinstance(value, functools.partial):
            add([value.func, value.args, value.keywords], label)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                add(item, f"{label}[{key!r}]")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                add(item, f"{label}[{index}]")
        elif isinstance(value, set | frozenset):
            add(sorted(value, key=repr), label)
        elif dataclasses.is_dataclass(value):
            add(type(value), label)
            for field in dataclasses.fields(value):
                add(getattr(value, field.name), f"{label}.{field.name}")
        elif callable(value) and hasattr(value, "__name__") and hasattr(value, "__module__"):
            self.modules.add(str(value.__module__))  # a function of a library
        else:
            self.modules.add(type(value).__module__)
            self._add_bytes(value, label)

    def _add_class(self, cls: type, home: str) -> None:
        strict = in_cell(cls)
        if not strict and cls.__module__ != home:
            self.modules.add(cls.__module__)
            return
        for base in cls.__mro__[1:]:
            self.add(base, base.__qualname__, strict=strict, home=home)
        for name, value in vars(cls).items():
            function = getattr(value, "__func__", value)
            if isinstance(function, FunctionType):
                if _is_generated(function):
                    continue
                if only_draws(name, inspect.signature(function).parameters):
                    continue
            elif name.startswith("__") or name in ("_abc_impl", "defined_at"):
                continue
            self.add(value, f"{cls.__qualname__}.{name}", strict=strict, home=home)

    def _add_function(self, function: FunctionType, home: str) -> None:
        strict, name = in_cell(function), function.__qualname__
        if not strict and function.__module__ != home:
            self.modules.add(function.__module__)
            return
        code = function.__code__
        statement = _statement(code) if strict else None
        if strict and statement is None:
            self.missing.append(f"the source of {name} cannot be read")
        elif statement is not None:
            text, tree = statement
            digest, imports = meaning_of(tree)
            self.found[text] = Cell(name.partition(".")[0], digest, text)
            self.modules.update(f"{i.module}.{i.name}".strip(".") for i in imports)
        scope = function.__globals__
        values = {name: scope[name] for name in _global_names(code) if name in scope}
        for label, value in values.items():
            self.add(value, label, strict=strict, home=home)
        made_in_function = strict or "<locals>" in name  # with other values in every call
        for label, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # an empty cell
                enclosed = cell.cell_contents
                self.add(enclosed, f"{name}.{label}", strict=made_in_function, home=home)
        for defaults in filter(None, (function.__defaults__, function.__kwdefaults__)):
            self.add(defaults, f"{name}()", strict=strict, home=home)

    def _add_bytes(self, value: Any, label: str) -> None:
        """Add an array or another object by its content."""
        try:
            if hasattr(value, "__array__") and not np.asarray(value).dtype.hasobject:
                value = np.asarray(value)
            content = hashlib.sha256(pickle.dumps(value, protocol=5)).hexdigest()
        except Exception:  # whatever the object's own methods raise
            kind = type(value).__name__
            self.missing.append(f"{label} holds a {kind}, whose content cannot be read")
        else:
            self._add_value(label, f"{type(value).__name__}, sha256 {content}")

    def _add_value(self, label: str, value: str, *, shown: bool = True) -> None:
        text = f"{label} = {value}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.found[text] = Cell(label, digest, text if shown else "")


def in_cell(value: type | FunctionType) -> bool:
    """Return whether a class or a function is in no file: in a notebook cell, say."""
    name = str(value.__module__)
    module = sys.modules.get(name)
    if name.partition(".")[0] in sys.stdlib_module_names:
        return False
    file = getattr(module, "__file__", None)
    if file is None:
        return getattr(module, "__spec__", None) is None
    if name != "__main__":
        return False
    files = {Path(code.co_filename).name for code in _own_code(value)}
    return bool(files) and Path(file).name not in files


def _own_code(value: type | FunctionType) -> Iterator[CodeType]:
    """Yield the code of a function, or of the functions that a class defines."""
    if isinstance(value, FunctionType):
        yield value.__code__
        return
    for member in vars(value).values():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        ours = isinstance(function, FunctionType) and function.__module__ == value.__module__
        if ours and not _is_generated(function):
            yield function.__code__


def _is_generated(function: FunctionType) -> bool:
    """Return whether a dataclass made a method from its fields."""
    inner = inspect.unwrap(function).__code__
    return function.__name__.startswith("__") and inner.co_filename in _BY_DATACLASS


def _is_plain(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(item, _SCALARS) or _is_plain(item) for item in value
    )


def _statement(code: CodeType) -> tuple[str, ast.Module] | None:
    """Return the statement of a cell that code comes from, as text and as a tree."""
    lines = linecache.getlines(code.co_filename)
    try:
        tree = ast.parse("".join(lines))
    except SyntaxError:
        return None
    for statement in tree.body:
        decorators = getattr(statement, "decorator_list", [])
        first = min(node.lineno for node in [statement, *decorators])
        last = statement.end_lineno or first
        if first <= code.co_firstlineno <= last:
            text = "".join(lines[first - 1 : last]).rstrip()
            return text, ast.Module([statement], [])
    return None


@functools.cache
def _global_names(code: CodeType) -> tuple[str, ...]:
    """Name the globals that code reads, functions inside it included."""
    names = [
        instruction.argval
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    ]
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return tuple(dict.fromkeys([*names, *(name for code in inner for name in _global_names(code))]))
