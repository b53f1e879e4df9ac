"""Config: one problem, one rule and the settings of a run, in all the forms they take.

key=value on the command line, TOML files -> flat {"problem.size": 10} -> RunConfig
RunConfig <-> config.json
"""

import dataclasses
from typing import TYPE_CHECKING, Any

from physopt.config.parse import flat_arguments, parse, run_class, split_names
from physopt.config.registry import Kind, find, name_of
from physopt.config.settings import Settings
from physopt.options import OptionError, suggest

if TYPE_CHECKING:
    from physopt.problem import Problem
    from physopt.rule import UpdateRule


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What a run is: everything that decides its numbers, and where it is written."""

    problem: "Problem"
    rule: "UpdateRule"
    settings: Settings

    def __post_init__(self) -> None:
        settings, problem = self.settings, type(self.problem)
        offered = [*network_names(problem), "none"]
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


def make_config(problem: "Problem", rule: "UpdateRule", given: dict[str, Any]) -> RunConfig:
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
    flat, problem, rule = split_names(flat_arguments(words))
    given = {key: value for key, value in flat.items() if value != "none"}
    cls = run_class(problem, rule, Settings(**suited(problem, given)))
    parsed = parse(cls, flat, "run")
    return RunConfig(parsed.problem, parsed.rule, parsed.settings)


def suited(problem: "type[Problem]", given: dict[str, Any]) -> dict[str, Any]:
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


def _named(kind: Kind, options: "Problem | UpdateRule") -> dict[str, Any]:
    return {"name": name_of(kind, type(options)), **options.as_dict()}


def network_names(problem: "Problem | type[Problem]") -> list[str]:
    """Name the networks that a problem offers, the default first."""
    prefix = "network_"
    return ["default"] + [n.removeprefix(prefix) for n in dir(problem) if n.startswith(prefix)]
