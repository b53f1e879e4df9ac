"""Config: one problem, one rule and the settings of a run, in all the forms they take.

key=value on the command line, TOML files -> flat {"problem.size": 10} -> RunConfig
RunConfig <-> config.json, and the run_id that names the run's folder
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from physopt import arguments, start
from physopt.objective import networks
from physopt.options import OptionError
from physopt.problem import Problem
from physopt.registry import Kind, find, fingerprint, name_of, suggest
from physopt.rule import UpdateRule
from physopt.settings import UNRECORDED, Settings


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run is: everything that decides its numbers, and where it is written."""

    problem: Problem
    rule: UpdateRule
    settings: Settings

    def __post_init__(self) -> None:
        settings, problem = self.settings, type(self.problem)
        offered = [*networks(problem), "none"]
        if settings.network not in offered:
            self._refuse(
                "network",
                f"{problem.__name__} has none of this name; " + suggest(settings.network, offered),
            )
        if settings.train_size is not None and settings.network == "none":
            self._refuse(
                "train_size", "network=none has no training set: it solves held-out samples"
            )
        if settings.train_size is not None and settings.train_size < settings.batch_size:
            self._refuse("batch_size", f"is more than train_size={settings.train_size}")
        if settings.network == "none" and settings.batch_size > settings.heldout_size:
            self._refuse(
                "batch_size",
                f"is more than heldout_size={settings.heldout_size}, the "
                "samples that network=none can solve",
            )
        if settings.stop_at_target and self.problem.target is None:
            self._refuse("stop_at_target", f"{problem.__name__} names no target")

    def _refuse(self, name: str, reason: str) -> None:
        raise OptionError(Settings, name, getattr(self.settings, name), reason)

    def record(self) -> dict[str, Any]:
        """Return the content of config.json."""
        return {
            "problem": _named("problem", self.problem),
            "rule": _named("rule", self.rule),
            **self.settings.as_dict(),
        }

    def run_id(self, device_kind: str) -> str:
        """Return the first 12 hex digits of a hash over all that decides a run's numbers.

        Raises OptionError where `start` names no run with a checkpoint.
        """
        record = {k: v for k, v in self.record().items() if k not in UNRECORDED}
        if self.settings.start is not None:  # what it holds counts, not where it lies
            record["start"] = start.identity(self.settings.start)
        for kind in ("problem", "rule"):  # a plug-in's folder is not part of what it computes
            record[kind]["name"] = Path(record[kind]["name"]).name
        source = fingerprint(type(self.problem), type(self.rule))
        device_count = record.pop("devices")
        canonical = json.dumps([record, source, device_kind, device_count], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def folder(self, device_kind: str) -> Path:
        """Return the run's folder, out/problem/rule/run_id."""
        names = (
            _short(name_of("problem", type(self.problem))),
            _short(name_of("rule", type(self.rule))),
        )
        return Path(self.settings.out, *names, self.run_id(device_kind))


def make_config(problem: Problem, rule: UpdateRule, given: dict[str, Any]) -> RunConfig:
    """Complete the settings given with those that suit the problem."""
    unknown = [name for name in given if name not in setting_names()]
    if unknown:
        raise OptionError(
            Settings,
            unknown[0],
            given[unknown[0]],
            f"unknown setting; {suggest(unknown[0], setting_names())}",
        )
    return RunConfig(problem, rule, Settings(**{**suited(type(problem), given), **given}))


def from_words(words: list[str]) -> RunConfig:
    """Read a run as the command line does: TOML files and key=value.

    Raises OptionError, with the nearest key or value, where one does not fit.
    """
    flat, problem, rule = arguments.split_names(arguments.flat_arguments(words))
    given = {key: value for key, value in flat.items() if value != "none"}
    cls = arguments.run_class(problem, rule, Settings(**suited(problem, given)))
    parsed = arguments.parse(cls, flat, "run")
    return RunConfig(parsed.problem, parsed.rule, parsed.settings)


def suited(problem: type[Problem], given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that suit a problem where the user gives none.

    A time budget alone is the whole budget: then there is no default number of steps.
    """
    defaults = {"steps": 1000, **problem.defaults}
    if given.get("seconds") is not None:
        defaults.pop("steps")
    return defaults


def from_record(record: dict[str, Any]) -> RunConfig:
    """Return the config that config.json holds."""
    objects = {}
    for kind in ("problem", "rule"):
        options = dict(record[kind])
        objects[kind] = find(kind, options.pop("name"))(**options)
    settings = {k: v for k, v in record.items() if k in setting_names()}
    return RunConfig(objects["problem"], objects["rule"], Settings(**settings))


def setting_names() -> list[str]:
    """Name all settings."""
    return [field.name for field in dataclasses.fields(Settings)]


def _named(kind: Kind, options: Problem | UpdateRule) -> dict[str, Any]:
    return {"name": name_of(kind, type(options)), **options.as_dict()}


def _short(name: str) -> str:
    """Return a name fit for a folder: a referenced class gives its own."""
    return name.rpartition(":")[2]
