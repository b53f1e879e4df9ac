"""Registry: problems and update rules by name.

A name is a key of PROBLEMS or RULES, an entry point of the groups physopt.problems or physopt.rules
that an installed package declares, or a reference to a class: `module:Class` or `file.py:Class`. A
rule may also have a short name.
"""

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from types import MappingProxyType, ModuleType
from typing import Any, Literal

from physopt.config.plugins import import_file, is_plugin, modules_of
from physopt.optimizers import ALIASES, RULES
from physopt.options import OptionError, is_frozen, suggest
from physopt.problems import PROBLEMS

Kind = Literal["problem", "rule"]
_KINDS: tuple[Kind, ...] = ("problem", "rule")
_TABLES: Mapping[Kind, Mapping[str, str]] = {"problem": PROBLEMS, "rule": RULES}
_SHORT: Mapping[Kind, Mapping[str, str]] = {"problem": {}, "rule": ALIASES}


def names(kind: Kind) -> dict[str, str]:
    """Return every known name with its reference, plug-ins of installed packages included."""
    return {**_plugins(kind), **_TABLES[kind]}


def short_names(kind: Kind, name: str) -> tuple[str, ...]:
    """Return the short names that stand for a name."""
    return tuple(short for short, whole in _SHORT[kind].items() if whole == name)


@functools.cache  # reading what is installed takes milliseconds, and every run_id asks for it
def _plugins(kind: Kind) -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=f"physopt.{kind}s")}


class Untrusted(OptionError):
    """A record names code that only its reader may decide to run."""


_NONE: Mapping[str, Any] = MappingProxyType({})


def find(kind: Kind, name: str, given: Mapping[str, Any] = _NONE) -> type[Any]:
    """Return the class of a problem or rule that the user names; its module is imported.

    given: options on which the class may depend.

    Raises OptionError, with the nearest name, where there is none.
    """
    cls = _imported(kind, name)
    if not issubclass(cls, base(kind)):
        reason = f"is no {kind}: not a subclass of physopt.{base(kind).__name__}"
        raise OptionError(object, kind, name, reason)
    return _usable(kind, name, cls).class_for(given)


def _usable(kind: Kind, name: str, cls: type[Any]) -> type[Any]:
    """Return a class; raise OptionError, with its line, if no object of it can be used."""
    if not is_frozen(cls):
        reason = f"{cls.__name__} needs the decorator @dataclass(frozen=True)"
    elif not _is_target(getattr(cls, "target", None)):
        reason = f"target = {cls.target!r} must name a metric and a value: ('error', 0.05)"
    else:
        return cls
    with suppress(OSError, TypeError):
        lines, first = inspect.getsourcelines(cls)
        file = os.path.relpath(inspect.getsourcefile(cls) or "")
        at = next((k for k, line in enumerate(lines) if line.lstrip().startswith("class ")), 0)
        reason += f" ({file}, line {first + at})"
    raise OptionError(object, kind, name, reason)


def _is_target(value: Any) -> bool:
    match value:
        case None | (str(), int() | float()):
            return True
    return False


def base(kind: Kind) -> type[Any]:
    """Return the class from which all problems or all rules are derived."""
    from physopt.problem import Problem  # not above: the command line's help need not wait for it
    from physopt.rule import UpdateRule

    return {"problem": Problem, "rule": UpdateRule}[kind]


def find_any(name: str) -> tuple[Kind, type[Any]]:
    """Return kind and class of a problem or rule; raise OptionError for an unknown name."""
    if ":" not in name:
        known = {kind: {**names(kind), **_SHORT[kind]} for kind in _KINDS}
        kinds: list[Kind] = [kind for kind in _KINDS if name in known[kind]]
        if not kinds:
            reason = f"unknown problem or rule; {suggest(name, known['problem'] | known['rule'])}"
            raise OptionError(object, "name", name, reason)
        return kinds[0], find(kinds[0], name)
    cls = _imported("problem", name)
    kinds = [kind for kind in _KINDS if issubclass(cls, base(kind))]
    if not kinds:
        raise OptionError(object, "name", name, "is neither a problem nor a rule")
    return kinds[0], _usable(kinds[0], name, cls).class_for({})


def find_recorded(
    kind: Kind, name: str, given: Mapping[str, Any] = _NONE, *, trust: bool = False
) -> type[Any]:
    """Return the class of a problem or rule that a record names, with options as for `find`.

    A record may come from anyone, so its word is not enough to import a module: the class must be
    part of physopt, registered by an installed package or imported already, unless the user trusts
    the record. Raises Untrusted otherwise, and OptionError as `find` does.
    """
    if not (trust or needs_no_trust(kind, name) or _runs_already(kind, name)):
        reason = "is code that a record names, not you; trust=true imports it, if you trust it"
        raise Untrusted(object, kind, name, reason)
    return find(kind, name, given)


def needs_no_trust(kind: Kind, name: str) -> bool:
    """Return whether a name is that of a class of physopt or of an installed plug-in."""
    known = names(kind)
    shipped = name.startswith(("physopt.problems.", "physopt.optimizers."))
    return shipped or ":" not in name or name in known or name in known.values()


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


def _imported(kind: Kind, name: str) -> type[Any]:
    """Return the class of a name; raise OptionError, with the nearest name, where there is none."""
    known, short = names(kind), _SHORT[kind]
    reference = known.get(name) or known.get(short.get(name, name), name)
    module_name, separator, class_name = reference.rpartition(":")
    if not separator:
        raise OptionError(object, kind, name, f"unknown {kind}; {suggest(name, {*known, *short})}")
    try:
        module = _module(module_name)
    except ImportError as error:
        raise OptionError(object, kind, name, f"cannot import {module_name}: {error}") from error
    cls = getattr(module, class_name, None)
    if inspect.isclass(cls):
        return cls
    classes = [n for n, c in vars(module).items() if inspect.isclass(c)]
    reason = f"{module_name} has no class {class_name}; {suggest(class_name, classes)}"
    if module_name == "__main__":
        reason = (
            f"{class_name} was defined in a notebook or an interactive session, and not in "
            f"this one; define it first, or save it in a file: file.py:{class_name}"
        )
    raise OptionError(object, kind, name, reason)


def _module(name: str) -> ModuleType:
    return import_file(name) if name.endswith(".py") else importlib.import_module(name)


def _runs_already(kind: Kind, name: str) -> bool:
    """Return whether the module of a class has been imported in this process, by the user."""
    module_name, _, class_name = name.rpartition(":")
    if module_name.endswith(".py"):
        modules = modules_of(module_name)
        classes = [vars(module).get(class_name) for module in modules]
        return any(is_plugin(module.__name__) for module in modules) or any(
            inspect.isclass(cls) and issubclass(cls, base(kind)) for cls in classes
        )
    content = vars(sys.modules[module_name]) if module_name in sys.modules else None
    # A function __getattr__ of a module could import another one.
    return content is not None and (class_name in content or "__getattr__" not in content)
