"""Config: one problem, one rule and the settings of a run, in all their forms.

key=value on the command line, TOML files <-> RunConfig <-> config.json
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from physopt.config.parse import (
    KINDS,
    flat_arguments,
    option_hints,
    run_hints,
    split_names,
)
from physopt.config.presets import suited_options
from physopt.config.registry import Kind, find_recorded, name_of
from physopt.config.settings import Settings
from physopt.config.text import from_text, read_texts, value_text
from physopt.options import OptionError, Options, suggest

if TYPE_CHECKING:
    from physopt.problem import Problem
    from physopt.rule import UpdateRule


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of a run, and the folder that it is written to.

    Raises OptionError for settings that do not fit the problem.
    """

    problem: "Problem"
    rule: "UpdateRule"
    settings: Settings

    def __post_init__(self) -> None:
        settings, problem = self.settings, type(self.problem)
        offered = network_names(problem)
        if settings.network not in offered:
            hint = suggest(settings.network, offered)
            self._refuse("network", f"{problem.__name__} has none of this name; {hint}")
        if settings.train_size is not None and settings.network == "none":
            reason = "network=none has no training set: it solves held-out samples"
            self._refuse("train_size", reason)
        if settings.redraw is not None and settings.train_size is None:
            self._refuse("redraw", "there is no training set to redraw without train_size")
        if settings.train_on == "test":
            self._check_joint_training()
        if settings.tolerance is not None and settings.network != "none":
            self._refuse("tolerance", "only solves of single samples, network=none, converge")
        if settings.train_size is not None and settings.train_size < settings.batch_size:
            self._refuse("batch_size", f"is more than train_size={settings.train_size}")
        if settings.network == "none" and settings.batch_size > settings.heldout_size:
            limit = f"heldout_size={settings.heldout_size}"
            self._refuse(
                "batch_size", f"is more than {limit}, the samples that network=none can solve"
            )
        if settings.stop_at_target and self.problem.target is None:
            self._refuse("stop_at_target", f"{problem.__name__} has no target")

    def _check_joint_training(self) -> None:
        """Refuse settings of another training set than the test set."""
        settings = self.settings
        if settings.network == "none":
            self._refuse("train_on", "network=none optimises x of the test samples already")
        if settings.train_size is not None:
            reason = "train_on=test trains on the test set, of heldout_size samples"
            self._refuse("train_size", reason)
        if settings.batch_size > settings.heldout_size:
            reason = f"is more than heldout_size={settings.heldout_size}, which train_on=test uses"
            self._refuse("batch_size", reason)

    def _refuse(self, name: str, reason: str) -> None:
        raise OptionError(Settings, name, getattr(self.settings, name), reason)

    def with_option(self, key: str, value: Any) -> "RunConfig":
        """Return a copy with one option changed; nothing else changes with it.

        key: as typed, "seed", "rule.tau", "problem.size". value: text as typed, or a Python value.
        Raises OptionError, with the nearest key or value, for what does not fit.
        """
        hints = run_hints(type(self.problem), type(self.rule))
        if key not in hints:
            raise OptionError(object, key, value, f"unknown key; {suggest(key, hints)}")
        part, _, name = key.rpartition(".")
        part = part or "settings"
        options: Options = getattr(self, part)
        if isinstance(value, str):
            value = read_texts(type(options), {name: value})[name]
        return dataclasses.replace(self, **{part: options.replace(**{name: value})})

    def words(self) -> tuple[str, ...]:
        """Return what to type after `python -m physopt run` for this run.

        Options at the defaults of this problem and rule are left out: from_words(words) is equal
        to this config.
        """
        problem, rule = type(self.problem), type(self.rule)
        named = (f"{kind}={name_of(kind, type(getattr(self, kind)))}" for kind in KINDS)
        settings = suited(problem, {"seconds": self.settings.seconds})
        return (
            *named,
            *_words(self.problem, "problem.", {}),
            *_words(self.rule, "rule.", suited_options(problem, rule)),
            *_words(self.settings, "", settings),
        )

    def record(self) -> dict[str, Any]:
        """Return the content of config.json: all but `trust`, which no record may decide."""
        settings = self.settings.as_dict()
        del settings["trust"]
        return {
            "problem": _named("problem", self.problem),
            "rule": _named("rule", self.rule),
            **settings,
        }


def make_config(problem: "Problem", rule: "UpdateRule", given: dict[str, Any]) -> RunConfig:
    """Complete the given settings with those that suit the problem."""
    known = option_hints(Settings)
    for name in given:
        if name not in known:
            reason = f"unknown setting; {suggest(name, known)}"
            raise OptionError(Settings, name, given[name], reason)
    return RunConfig(problem, rule, Settings(**{**suited(type(problem), given), **given}))


def from_words(words: list[str]) -> RunConfig:
    """Read a run as the command line does, from TOML files and key=value.

    Raises OptionError, with the nearest key or value, for what does not fit.
    """
    flat, problem, rule = split_names(flat_arguments(words))
    known = run_hints(problem, rule)
    parts: dict[str, dict[str, str]] = {"problem": {}, "rule": {}, "": {}}
    for key, text in flat.items():
        if key not in known:
            raise OptionError(object, key, text, f"unknown key; {suggest(key, known)}")
        part, _, name = key.rpartition(".")
        parts[part][name] = text
    return make_config(
        from_text(problem, parts["problem"]),
        from_text(rule, parts["rule"], **suited_options(problem, rule)),
        read_texts(Settings, parts[""]),
    )


def from_record(record: Mapping[str, Any], *, trust: bool = False) -> RunConfig:
    """Return the config that the content of config.json describes.

    Raises OptionError if problem or rule is missing or cannot be found, and Untrusted, without
    `trust`, if one is code of which the user has not decided that it runs (see `find_recorded`).
    """
    problem, rule = (recorded_options(record, kind, trust=trust) for kind in KINDS)
    return RunConfig(problem, rule, recorded_settings(record).replace(trust=trust))


def recorded_options(record: Mapping[str, Any], kind: Kind, *, trust: bool = False) -> Any:
    """Return the problem or the rule of a record; raise OptionError as `from_record` does."""
    options = record.get(kind)
    if not isinstance(options, dict) or not isinstance(options.get("name"), str):
        raise OptionError(object, kind, "", f"the record names no {kind}")
    given = {name: value for name, value in options.items() if name != "name"}
    cls = find_recorded(kind, options["name"], given, trust=trust)
    known = option_hints(cls)
    for name in given:
        if name not in known:
            reason = f"the {kind} has no such option now; {suggest(name, known)}"
            raise OptionError(cls, name, given[name], reason)
    return cls(**given)


def recorded_settings(record: Mapping[str, Any]) -> Settings:
    """Return the settings of a record; raise OptionError for a value that does not fit."""
    known = option_hints(Settings).keys() - {"trust"}
    return Settings(**{key: value for key, value in record.items() if key in known})


def suited(problem: "type[Problem]", given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that suit a problem, for those that are not given.

    A time budget alone is the whole budget: then there is no default number of steps.
    """
    network = network_names(problem)[0]
    defaults = {"steps": 1000, "network": network, **problem.defaults}
    if given.get("seconds") is not None:
        defaults.pop("steps")
    if given.get("network", network) == "none":  # which trains on nothing
        defaults.pop("train_size", None)
        defaults.pop("redraw", None)
    return defaults


def network_names(problem: "Problem | type[Problem]") -> list[str]:
    """Return the names of the networks that a problem offers, its default first.

    The last is none, which optimises x itself.
    """
    from physopt.problem import Problem  # imports JAX, which --help does without

    cls = problem if isinstance(problem, type) else type(problem)
    own = [] if cls.network is Problem.network else ["default"]
    prefix = "network_"
    return own + [n.removeprefix(prefix) for n in dir(cls) if n.startswith(prefix)] + ["none"]


def _words(options: Options, prefix: str, suited: Mapping[str, Any]) -> list[str]:
    """Return key=value for each option that differs from its default."""
    words = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if value != suited.get(field.name, field.default) or field.metadata.get("named"):
            words.append(f"{prefix}{field.name}={value_text(value)}")
    return words


def _named(kind: Kind, options: "Problem | UpdateRule") -> dict[str, Any]:
    return {"name": name_of(kind, type(options)), **options.as_dict()}
