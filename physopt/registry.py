"""Registry: problems and update rules by name.

A name is a key of PROBLEMS or RULES, an entry point of the groups physopt.problems or physopt.rules
that an installed package declares, or a reference to a class: `module:Class` or `file.py:Class`.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from physopt.optimizers import RULES
from physopt.options import OptionError
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


def suggest(word: str, known: Iterable[str]) -> str:
    """Say which known word is nearest to a misspelled one, or which there are."""
    known = sorted(known)
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"


def source_files(cls: type) -> list[Path]:
    """Return the source files that a class is made of.

    Those of its bases, of the problem or optimizer modules that these use, and of the whole folder
    where that is a package of its own (problems/ldft/).
    """
    modules = {base.__module__ for base in cls.__mro__}
    for name in tuple(modules):
        used = vars(sys.modules[name]).values()
        modules |= {str(getattr(value, "__module__", "")) for value in used}
    bases = {base.__module__ for base in cls.__mro__}
    files = set()
    for name in modules:
        source = getattr(sys.modules.get(name), "__file__", None)
        ours = name.startswith(("physopt.problems.", "physopt.optimizers."))
        if source is None or not (ours or name in bases):
            continue
        path = Path(source).resolve()
        files.update(path.parent.glob("*.py") if name.count(".") > 2 else [path])
    return sorted(files)


def fingerprint(*classes: type) -> str:
    """Return a hash of the source that a run depends on: its classes and the core of physopt.

    What only shows or starts runs (command line, display) is left out.
    """
    core = Path(__file__).resolve().parent
    numerics = (
        *("backend", "backtracking", "convolution", "data", "dense_products", "float64"),
        *("layerwise", "linalg", "memory", "networks", "objective", "parallel", "per_sample"),
        *("train", "unet"),
    )
    files = {core / f"{name}.py" for name in numerics}
    for cls in classes:
        files.update(path for path in source_files(cls) if path.parent != core)
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


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
