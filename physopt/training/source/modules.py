"""Modules: the files whose code can change a number of a run, as they were imported.

The code that runs is the code that was imported. A module's text is therefore read once after each
import. If its file was edited in between, the text is lost: `lost` says so. Plug-in files
(physopt.config.plugins) keep the text that they were compiled from.
"""

import hashlib
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import decode_source, find_spec
from pathlib import Path

from physopt.config import plugins
from physopt.training.source.meaning import Import, Meaning, meaning

SHOWS_ONLY = {
    "physopt": "imports its names on demand",
    "physopt.__main__": "starts the command line",
    "physopt.cli": "reads commands",
    "physopt.script": "reads the options of scripts",
    "physopt.commands*": "prints",
    "physopt.options": "checks values, which config.json records",
    "physopt.config*": "resolves names and options, which config.json records",
    "physopt.records": "names its modules",
    "physopt.records.checkpoints": "reads and writes what was computed",
    "physopt.records.environment": "records versions",
    "physopt.records.folder": "reads and writes what was computed",
    "physopt.records.reading": "reads what was computed",
    "physopt.records.record": "reads what was computed",
    "physopt.records.samples": "reads and writes what was computed",
    "physopt.records.status": "names the ends of runs",
    "physopt.records.timing": "judges timings",
    "physopt.records.units": "writes numbers with units",
    "physopt.profiling*": "traces updates apart from training",
    "physopt.machine": "holds nothing",
    "physopt.machine.cache": "keeps compiled programs",
    "physopt.machine.failures": "words exceptions",
    "physopt.machine.output": "prints",
    "physopt.machine.threads": "limits threads, which env.json records",
    "physopt.machine.resident": "reads the memory of processes",
    "physopt.machine.parent": "ends processes with their parent",
    "physopt.training": "holds nothing",
    "physopt.training.run": "begins and ends sessions, opens records",
    "physopt.training.identity": "names runs",
    "physopt.training.source*": "reads sources",
    "physopt.training.design": "applies trained networks",
    "physopt.training.display": "prints",
    "physopt.training.figure": "draws",
    "physopt.training.film": "draws",
    "physopt.training.inference": "times trained networks",
    "physopt.training.interrupt": "handles signals",
    "physopt.training.phases": "measures and shows phases",
    "physopt.training.timing": "announces durations and records the load of the machine",
    "physopt.problems": "names the problems",
    "physopt.optimizers": "names the rules",
    "physopt.problems.ldft.curves": "reads users' targets",
    "physopt.problems.ldft.isotherm_files*": "reads users' targets",
    "physopt.problems.pinn": "names the problems",
    "physopt.problems.*.picture": "draws",
    "physopt.sweeping*": "starts runs",
    "physopt.checking*": "checks problems and rules",
    "physopt.feasibility*": "measures what fits a device",
    "physopt.analysis*": "reads records",
}
"""Modules that draw, show or start, and change no number of a run: {pattern: what they do}.

Every other module of physopt that a run imports is part of the run's identity.
"""

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
"""Libraries that count by their version even where they lie outside the library folders."""


@dataclass(frozen=True)
class Module:
    """The source of one module as it was imported."""

    name: str
    path: Path
    text: str = field(repr=False)  # of a compiled extension the hash of its file
    digest: str
    imports: tuple[Import, ...] = field(repr=False)
    modified: int = field(compare=False)  # last change of the file when it was read, ns since 1970
    imported: bool = field(compare=False)
    spec: ModuleSpec | None = field(compare=False, repr=False)  # each import makes a new one

    @property
    def is_ours(self) -> bool:
        """Whether the module belongs to physopt."""
        return head_of(self.name) == "physopt"

    @property
    def label(self) -> str:
        """The module's name, free of what depends on the folder of a plug-in."""
        if self.name == "__main__":
            return self.path.stem
        return self.name.partition(".")[2] if plugins.is_plugin(self.name) else self.name

    @property
    def file(self) -> str:
        """Path of the module below the folder from which it is imported."""
        name = self.label.replace(".", "/")
        return f"{name}/__init__.py" if self.path.stem == "__init__" else name + self.path.suffix

    def is_current(self) -> bool:
        """Return whether a run would execute this text."""
        if self.name in sys.modules:
            return self.imported and _spec(self.name) is self.spec
        return not self.imported and not self.is_edited()

    def is_edited(self) -> bool:
        """Return whether the file now holds another text."""
        try:
            return _file_text(self.path) != self.text
        except (OSError, SyntaxError, UnicodeDecodeError):
            return True


def lost(modules: Iterable[Module], imported: int | None) -> tuple[str, ...]:
    """Name the modules whose file was edited after their import and before it was read."""
    if imported is None:
        return ()
    now = time.time_ns()
    return tuple(
        f"{module.file} was edited after it was imported"
        for module in modules
        if module.imported and imported < module.modified < now
    )


_CLOSURES: dict[tuple[tuple[str, ...], frozenset[str]], tuple[Module, ...]] = {}
_MODULES: dict[str, Module] = {}


def closure(roots: tuple[str, ...], homes: frozenset[str]) -> tuple[Module, ...]:
    """Return the modules `roots` and all that they import and that count, in the order of labels.

    homes: first names of the packages that count wherever they are installed.
    """
    known = _CLOSURES.get((roots, homes))
    if known is not None and all(module.is_current() for module in known):
        return known
    reached: dict[str, Module] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        is_named = name in roots and head_of(name) != "physopt"
        if name in reached or not (is_named or is_own(name, homes)):
            continue
        if (module := _read(name)) is not None:
            reached[name] = module
            waiting += _imported_names(module)
    modules = tuple(sorted(reached.values(), key=lambda module: (module.label, module.digest)))
    _CLOSURES[roots, homes] = modules
    return modules


def _read(name: str) -> Module | None:
    """Return a module as it was imported, or as its file is if it was not; None if it has none."""
    known = _MODULES.get(name)
    if known is not None and known.is_current():
        return known
    path = _path(name)
    if path is None or not path.is_file():
        return None
    compiled = plugins.imported_text(sys.modules[name]) if name in sys.modules else None
    text = _file_text(path) if compiled is None else compiled
    modified = path.stat().st_mtime_ns if compiled is None else 0
    meant = meaning(text) if path.suffix == ".py" else Meaning(text, ())
    module = Module(name, path, text, *meant, modified, name in sys.modules, _spec(name))
    _MODULES[name] = module
    return module


def _file_text(path: Path) -> str:
    content = path.read_bytes()
    return decode_source(content) if path.suffix == ".py" else hashlib.sha256(content).hexdigest()


def _imported_names(module: Module) -> Iterator[str]:
    """Yield the full names of what a module imports, and of the packages around it."""
    package = module.name if module.path.stem == "__init__" else module.name.rpartition(".")[0]
    if module.name == "__main__":
        package = getattr(sys.modules["__main__"], "__package__", None) or ""
    for level, name, attribute in module.imports:
        if level:
            around = package.split(".")[: len(package.split(".")) - level + 1]
            name = ".".join([*around, name]).rstrip(".")
        elif plugins.is_plugin(module.name):
            name = plugins.own_name(name, module.name)
        yield name
        yield f"{name}.{attribute}"  # which may be a module
        parts = name.split(".")
        yield from (".".join(parts[:count]) for count in range(1, len(parts)))


def is_own(name: str, homes: frozenset[str]) -> bool:
    """Return whether a module counts."""
    head = head_of(name)
    if head == "physopt":
        return not _shows_only(name)
    if head in homes or plugins.is_plugin(name):
        return True
    return not (head in LIBRARIES or head in sys.stdlib_module_names or _is_library(head))


@cache
def _shows_only(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in SHOWS_ONLY)


def _is_library(head: str) -> bool:
    """Return whether a package lies in one of Python's library folders, or is not found."""
    path = _path(head)
    if path is None:
        folders = getattr(sys.modules.get(head), "__path__", None) or [None]
        path = next(iter(folders))
    if path is None:
        return True
    path = Path(path).resolve()
    libraries = (sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib"))
    return bool({"site-packages", "dist-packages"} & set(path.parts)) or any(
        path.is_relative_to(Path(folder).resolve()) for folder in libraries
    )


def _path(name: str) -> Path | None:
    """Return the file of a module, without importing it; None where there is none."""
    module = sys.modules.get(name)
    if module is not None:
        file = getattr(module, "__file__", None)
        return Path(file) if file else None
    parent = name.rpartition(".")[0]
    try:
        if not parent:
            spec = find_spec(name)
        else:
            around = _folders(parent)
            spec = PathFinder.find_spec(name, around) if around else None
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def _folders(package: str) -> list[str]:
    """Return the folders in which the modules of a package lie."""
    module = sys.modules.get(package)
    if module is not None:
        return list(getattr(module, "__path__", ()))
    path = _path(package)
    return [str(path.parent)] if path is not None and path.stem == "__init__" else []


def _spec(name: str) -> ModuleSpec | None:
    return getattr(sys.modules.get(name), "__spec__", None)


def head_of(name: str) -> str:
    """Return the first part of a dotted name."""
    return name.partition(".")[0]
