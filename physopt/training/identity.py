"""Identity: the run_id, which names a run by everything that can change its numbers, and only that.

Part of it are

    the options of problem and rule, and the settings except UNRECORDED
    the meaning of the source that trains, evaluates and differentiates (physopt.training.source)
    the best parameters that `start` names
    the settings of JAX that change numbers, kind and number of devices

Not part of it are comments and formatting, what only draws or prints, the folder of a plug-in, and
the versions of libraries: a finished run that was made with other versions is not repeated, but
`unchanged` says so.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from physopt.config import RunConfig, plugins
from physopt.config.registry import name_of
from physopt.config.settings import UNRECORDED
from physopt.options import OptionError
from physopt.records.environment import LIBRARIES, differences, jax_settings
from physopt.training import warm_start
from physopt.training.source import Source, core, source_of


def run_id(config: RunConfig, device_kind: str) -> str:
    """Return the first 12 hex digits of a hash of the run's identity.

    Raises OptionError if `start` names no run with a checkpoint.
    """
    record = {k: v for k, v in config.record().items() if k not in UNRECORDED}
    if config.settings.start is not None:  # what it holds counts, not where it lies
        record["start"] = warm_start.identity(config.settings.start)
    for kind in ("problem", "rule"):
        record[kind]["name"] = Path(record[kind]["name"]).name
    device_count = record.pop("devices")
    source = source_of_run(config).digest()
    content = [record, source, jax_settings(), device_kind, device_count]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def folder(config: RunConfig, device_kind: str) -> Path:
    """Return the run's folder, out/problem/rule/run_id."""
    return parent_folder(config) / run_id(config, device_kind)


def parent_folder(config: RunConfig) -> Path:
    """Return the folder of all runs of a problem and a rule, out/problem/rule."""
    problem, rule = type(config.problem), type(config.rule)
    names = (_short(name_of("problem", problem)), _short(name_of("rule", rule)))
    return Path(config.settings.out, *names)


def source_of_run(config: RunConfig) -> Source:
    """Return the source of a run: physopt's own part, the problem's and the rule's."""
    return core() + source_of(type(config.problem)) + source_of(type(config.rule))


def fingerprint(*classes: type) -> str | None:
    """Return a hash of the source that classes and training depend on, None if part is unknown."""
    source = sum(map(source_of, classes), start=core())
    return None if source.missing else source.digest()


def refuse_during_import(config: RunConfig) -> None:
    """Raise OptionError if the file of problem or rule is being imported and starts this run.

    Such a file runs whatever it holds whenever a run of it is resumed.
    """
    for cls in (type(config.problem), type(config.rule)):
        if file := plugins.file_in_import(cls.__module__):
            reason = 'starts a run while it is imported; put that under if __name__ == "__main__":'
            raise OptionError(object, "file", file, reason)


def unchanged(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Return a line on a finished run: what is as it was, and what is not.

    recorded, current: the contents of env.json, as it is and as a run would write it now.
    """
    changed = differences(recorded, current)
    files = [file for file in current["sources"] if f"source of {file}" not in changed]
    same = [f"{k} {current[k]}" for k in LIBRARIES if k in recorded and k not in changed]
    sources = [f"source of {', '.join(files)}"] if files and "sources" in recorded else []
    line = f"Unchanged: {', '.join(['settings', *sources, *same])}. "
    if changed:
        line += f"Made with {changes_text(changed)}. "
    return line + "With force it runs again."


def changes_text(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Return what `differences` found, in words: jax 0.10.2 (now 0.11.0)."""
    return ", ".join(f"{name} {old} (now {new})" for name, (old, new) in changed.items())


def _short(name: str) -> str:
    """Return a name fit for a folder: a referenced class gives its own."""
    return name.rpartition(":")[2]
