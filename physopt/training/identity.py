"""Identity: the run_id, which names a run by everything that decides its numbers."""

import hashlib
import json
import sys
from pathlib import Path

from physopt.config import RunConfig
from physopt.config.registry import name_of
from physopt.config.settings import UNRECORDED
from physopt.training import warm_start

_CORE_PACKAGES = ("numerics", "networks")
_CORE_MODULES = (
    *("problem", "rule", "objective", "machine/devices", "machine/mesh"),
    *("training/data", "training/loop", "training/setup", "training/per_sample"),
    "training/warm_start",
)


def run_id(config: RunConfig, device_kind: str) -> str:
    """Return the first 12 hex digits of a hash over all that decides a run's numbers.

    Raises OptionError where `start` names no run with a checkpoint.
    """
    record = {k: v for k, v in config.record().items() if k not in UNRECORDED}
    if config.settings.start is not None:  # what it holds counts, not where it lies
        record["start"] = warm_start.identity(config.settings.start)
    for kind in ("problem", "rule"):  # a plug-in's folder is not part of what it computes
        record[kind]["name"] = Path(record[kind]["name"]).name
    source = fingerprint(type(config.problem), type(config.rule))
    device_count = record.pop("devices")
    canonical = json.dumps([record, source, device_kind, device_count], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def folder(config: RunConfig, device_kind: str) -> Path:
    """Return the run's folder, out/problem/rule/run_id."""
    names = (
        _short(name_of("problem", type(config.problem))),
        _short(name_of("rule", type(config.rule))),
    )
    return Path(config.settings.out, *names, run_id(config, device_kind))


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
    core = Path(__file__).resolve().parent.parent
    files = {path for package in _CORE_PACKAGES for path in (core / package).glob("*.py")}
    files |= {core / f"{name}.py" for name in _CORE_MODULES}
    for cls in classes:
        files.update(path for path in source_files(cls) if path.parent != core)
    digest = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _short(name: str) -> str:
    """Return a name fit for a folder: a referenced class gives its own."""
    return name.rpartition(":")[2]
