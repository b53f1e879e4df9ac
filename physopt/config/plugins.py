"""Plug-ins: problems and rules in files of the user's own, named `file.py:Class`.

The folder of such a file is a package with a name that no other folder has. An absolute import in
the file, or in a helper module beside it, looks into that package first:

    /a/heat.py    import solver   ->  physopt_plugin_3f2a9c01b7d4_1.solver   (/a/solver.py)
    /b/wave.py    import solver   ->  physopt_plugin_8e0d11c2f9a6_1.solver   (/b/solver.py)

Helpers are therefore found from any working folder, also by an import inside a function that runs
long afterwards, and helpers of one name in two folders never meet.

Once a file of the folder is edited, the next import makes a new package (`..._2`). Objects of the
old one keep their code, and each module keeps the text that it was compiled from: this text, not
the file, identifies the code that runs.
"""

import builtins
import contextlib
import hashlib
import importlib
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import decode_source, find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "physopt_plugin_"


def import_file(path: Path | str) -> ModuleType:
    """Return the module of a file, imported anew if it or a helper was edited since its import.

    A helper is any module imported from the file's folder or from below it. Raises ImportError if
    there is no such file; exceptions of the file itself pass through.
    """
    path = Path(path).expanduser().resolve()
    if not path.is_file():
        raise ImportError(f"no file {path}")
    package = _package(path.parent)
    name = f"{package}.{path.stem.replace('.', '_')}"
    if name not in sys.modules:
        importlib.invalidate_caches()  # a helper may have been written a moment ago
        with _on_path(path.parent):
            _execute(name, path)
    return sys.modules[name]


def is_plugin(module_name: str) -> bool:
    """Return whether a module comes from the folder of a plug-in."""
    return module_name.startswith(PREFIX)


def modules_of(path: Path | str) -> list[ModuleType]:
    """Return the modules that have been imported from a file, under any name."""
    path = Path(path).expanduser().resolve()
    files = [(module, getattr(module, "__file__", None)) for module in list(sys.modules.values())]
    return [
        module
        for module, file in files
        if isinstance(file, str) and Path(file).name == path.name and Path(file).resolve() == path
    ]


def imported_text(module: ModuleType) -> str | None:
    """Return the source that a plug-in's module was compiled from, None for any other module."""
    loader = getattr(module.__spec__, "loader", None)
    return loader.text if isinstance(loader, _Loader) else None


def edited(module: ModuleType) -> bool:
    """Return whether the file of a plug-in's module differs from what was imported."""
    text = imported_text(module)
    if text is None:
        return False
    try:
        return decode_source(Path(str(module.__file__)).read_bytes()) != text
    except (OSError, UnicodeDecodeError, SyntaxError):
        return True


def file_in_import(module_name: str) -> str | None:
    """Return the file of a plug-in's module while the module is executed, None at other times."""
    loader = getattr(getattr(sys.modules.get(module_name), "__spec__", None), "loader", None)
    return loader.path if isinstance(loader, _Loader) and loader.executing else None


def own_name(name: str, module_name: str) -> str:
    """Return the full name of the module that a plug-in's module imports as `name`.

    It is `name` itself unless the plug-in's folder holds such a module.
    """
    package = module_name.partition(".")[0]
    folder = Path(sys.modules[package].__path__[0])
    return f"{package}.{name}" if _holds(folder, name.partition(".")[0]) else name


def _package(folder: Path) -> str:
    """Return the name of the folder's package: the newest one, or a new one after an edit."""
    stem = f"{PREFIX}{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}_"
    count = sum(name.startswith(stem) and "." not in name for name in list(sys.modules))
    newest = f"{stem}{count}"
    modules = [m for name, m in list(sys.modules.items()) if name.startswith(f"{newest}.")]
    if count and not any(edited(module) for module in modules):
        return newest
    package = ModuleType(f"{stem}{count + 1}", f"The folder {folder}.")
    package.__path__ = [str(folder)]
    sys.modules[package.__name__] = package
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    return package.__name__


def _execute(name: str, path: Path) -> None:
    spec = spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


class _Finder(MetaPathFinder):
    """Finds helper modules below the packages of plug-in folders."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not is_plugin(fullname):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Executes a plug-in's source, keeps its text, and lets it import from its folder first."""

    text = ""
    executing = False

    def get_code(self, fullname: str) -> Any:
        # Bytecode files are matched by whole seconds and size, which would miss a quick edit.
        source = self.get_data(self.path)
        self.text = decode_source(source)
        return self.source_to_code(source, self.path)

    def exec_module(self, module: ModuleType) -> None:
        package = self.name.partition(".")[0]

        def import_from_folder_first(
            name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
        ) -> ModuleType:
            full_name = name if level else own_name(name, package)
            if full_name == name:
                return builtins.__import__(name, globals, locals, fromlist, level)
            # `import a.b` binds a; `from a.b import c` takes c from a.b.
            module = builtins.__import__(full_name, None, None, fromlist or (), 0)
            return module if fromlist else sys.modules[f"{package}.{name.partition('.')[0]}"]

        vars(module)["__builtins__"] = {**vars(builtins), "__import__": import_from_folder_first}
        self.executing = True
        try:
            super().exec_module(module)
        finally:
            self.executing = False


def _holds(folder: Path, name: str) -> bool:
    """Return whether an import would find the module in this folder first."""
    if (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file():
        return True
    if not any((folder / name).glob("*.py")):
        return False
    elsewhere = find_spec(name)  # a folder without __init__.py comes last, as in Python
    return elsewhere is None or elsewhere.origin is None


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Append a folder to sys.path, last so that it hides no library, and remove it again."""
    entry = str(folder)
    if entry in sys.path:
        yield
        return
    sys.path.append(entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)
