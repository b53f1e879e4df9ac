"""Registry: problems and update rules by name.

A name is a key of PROBLEMS or RULES, an entry point of the groups physopt.problems or physopt.rules
that an installed package declares, or a reference to a class: `module:Class` or `file.py:Class`.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from physopt.optimizers import RULES
from physopt.options import OptionError, suggest
from physopt.problems import PROBLEMS

Kind = Literal["problem", "rule"]
_TABLES: Mapping[Kind, Mapping[str, str]] = {"problem": PROBLEMS, "rule": RULES}


def names(kind: Kind) -> dict[str, str]:
    """Return every known name with its reference, plug-ins of installed packages included."""
    return {**_plugins(kind), **_TABLES[kind]}


@functools.cache  # reading what is installed takes milliseconds, and every run_id asks for it
def _plugins(kind: Kind) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=f"physopt.{kind}s")}


def find(kind: Kind, name: str) -> type[Any]:
    """Return the class of a problem or rule.

    Raises OptionError, with the nearest name, where there is none.
    """
    known = names(kind)
    reference = known.get(name, name)
    module_name, separator, class_name = reference.rpartition(":")
    if not separator:
        raise OptionError(object, kind, name, f"unknown {kind}; {suggest(name, known)}")
    try:
        module = _module(module_name)
    except ImportError as error:
        raise OptionError(object, kind, name, f"cannot import {module_name}: {error}") from error
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        classes = [n for n, c in vars(module).items() if inspect.isclass(c)]
        reason = f"{module_name} has no class {class_name}; {suggest(class_name, classes)}"
        raise OptionError(object, kind, name, reason)
    return found


def name_of(kind: Kind, cls: type) -> str:
    """Return the name under which a class can be found again."""
    reference = f"{cls.__module__}:{cls.__qualname__}"
    for name, known in names(kind).items():
        if known == reference:
            return name
    source = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if source and cls.__module__.startswith(_FILE_MODULE):
        return f"{source}:{cls.__qualname__}"
    return reference


_FILE_MODULE = "physopt_file_"


def _module(name: str):
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise ImportError(f"no file {name}")
    # Two files of one name in different folders are different modules.
    unique = _FILE_MODULE + hashlib.sha256(str(path).encode()).hexdigest()[:12]
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(unique, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[unique]
            raise
    return sys.modules[unique]
