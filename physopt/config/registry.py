"""Registry: problems and update rules by name.

A name is a key of PROBLEMS or RULES, an entry point of the groups physopt.problems or physopt.rules
that an installed package declares, or a reference to a class: `module:Class` or `file.py:Class`.
"""

import functools
import importlib
import inspect
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from physopt.config.plugins import import_file, is_plugin
from physopt.optimizers import RULES
from physopt.options import OptionError, Options, suggest
from physopt.problems import PROBLEMS

Kind = Literal["problem", "rule"]
_TABLES: Mapping[Kind, Mapping[str, str]] = {"problem": PROBLEMS, "rule": RULES}


def names(kind: Kind) -> dict[str, str]:
    """Return every known name with its reference, plug-ins of installed packages included."""
    return {**_plugins(kind), **_TABLES[kind]}


@functools.cache  # reading what is installed takes milliseconds, and every run_id asks for it
def _plugins(kind: Kind) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=f"physopt.{kind}s")}


def find(kind: Kind, name: str, given: Mapping[str, Any] = MappingProxyType({})) -> type[Any]:
    """Return the class of a problem or rule; `given` are options on which the class may depend.

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
    cls = getattr(module, class_name, None)
    if not inspect.isclass(cls):
        classes = [n for n, c in vars(module).items() if inspect.isclass(c)]
        reason = f"{module_name} has no class {class_name}; {suggest(class_name, classes)}"
        if module_name == "__main__":
            reason = (
                f"{class_name} was defined in a notebook or an interactive session, and not in "
                f"this one; define it first, or save it in a file: file.py:{class_name}"
            )
        raise OptionError(object, kind, name, reason)
    return cls.class_for(given) if issubclass(cls, Options) else cls


def name_of(kind: Kind, cls: type) -> str:
    """Return the name under which a class can be found again."""
    reference = f"{cls.__module__}:{cls.__qualname__}"
    for name, known in names(kind).items():
        if known == reference:
            return name
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    # The class of a script is found again in its file, as a plug-in.
    script = cls.__module__ == "__main__" and str(file).endswith(".py")
    if script or is_plugin(cls.__module__):
        return f"{file}:{cls.__qualname__}"
    return reference


def _module(name: str) -> ModuleType:
    return import_file(name) if name.endswith(".py") else importlib.import_module(name)
