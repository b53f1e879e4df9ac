"""Request: the cells of a map, read from the user's options and checked, and their device."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Literal, NamedTuple, get_args, get_origin

from physopt.config import RunConfig, from_words
from physopt.config.parse import option_hints, run_hints, split_names
from physopt.config.settings import Settings
from physopt.feasibility.options import FeasibilityOptions
from physopt.feasibility.process import CellProcess
from physopt.options import OptionError, suggest
from physopt.records import RunFolder
from physopt.training import identity

ONE_MODE = "-"
"""The mode of a problem that has no option for it."""


class Cell(NamedTuple):
    """A cell of the map, and a run whose training program it is."""

    size: int
    batch: int
    mode: str
    config: RunConfig

    @property
    def key(self) -> tuple[int, int, str]:
        """Size, batch and mode."""
        return self[:3]

    def __str__(self) -> str:
        mode = "" if self.mode == ONE_MODE else f", {self.mode}"
        return f"size {self.size}, batch {self.batch}{mode}"


class Device(NamedTuple):
    """The device of the map."""

    platform: str
    kind: str
    memory_limit: float
    """Bytes that a training program may take by default."""
    held: float | None
    """Bytes that JAX's allocator may hold; None on a CPU."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A requested map."""

    base: RunConfig
    cells: tuple[Cell, ...]
    options: FeasibilityOptions
    device: Device

    @property
    def limit(self) -> float:
        """Bytes that a training program may take."""
        return self.options.limit_bytes() or self.device.memory_limit

    @property
    def problem(self) -> str:
        """The short name of the problem."""
        return self.folder.path.parent.parent.name

    @property
    def folder(self) -> RunFolder:
        """The folder of the table, named by everything that decides a program's memory."""
        run = identity.folder(self.base, self.device.kind)
        compiler = [version("jax"), version("jaxlib"), os.environ.get("XLA_FLAGS", "")]
        digest = hashlib.sha256(json.dumps([run.name, *compiler]).encode()).hexdigest()
        return RunFolder(run.with_name(f"feasibility_{digest[:12]}"))


def read_request(options: FeasibilityOptions, given: Mapping[str, str]) -> Request:
    """Return the map that the options request, with `given` the keys of `run`: {key: text}.

    Raises OptionError for an invalid cell, before anything is compiled.
    """
    given = {"problem": "ldft2d", "rule": "adam", **given}
    _, problem, rule = split_names(dict(given))
    hints = run_hints(problem, rule)
    known = [*hints, "problem", "rule", *option_hints(FeasibilityOptions)]
    for key in given:
        if key not in known:
            raise OptionError(object, key, given[key], f"unknown key; {suggest(key, known)}")
    size_key, mode_key = _size_key(options, hints), _mode_key(options, hints)
    for key, by in ((size_key, "sizes"), ("batch_size", "batches"), (mode_key, "modes")):
        if key in given:
            raise OptionError(object, key, given[key], f"is varied by {by}=")
    words = tuple(f"{key}={text}" for key, text in given.items())
    base = from_words(list(words))
    if base.settings.devices > 1:
        raise OptionError(Settings, "devices", base.settings.devices, "the map is of one device")
    cells = []
    sizes = options.sizes or _default_sizes(base, size_key)
    modes = options.modes or _all_modes(hints, mode_key)
    for mode, size, batch in itertools.product(modes, sizes, options.batches):
        own = [f"{size_key}={size}", f"batch_size={batch}"]
        own += [] if mode_key is None else [f"{mode_key}={mode}"]
        cells.append(Cell(size, batch, mode, from_words([*words, *own])))
    return Request(base, tuple(cells), options, _device(base, options.timeout))


def _device(config: RunConfig, timeout: float) -> Device:
    with CellProcess() as process:  # this process must not take an accelerator's memory
        answered = process.ask("device", config, timeout)
    if answered.status != "ok":
        raise RuntimeError(f"JAX finds no device: {answered.reason}")
    return Device(**answered.answer)


def _size_key(options: FeasibilityOptions, hints: Mapping[str, Any]) -> str:
    key = _key(options.size_option, hints)
    if key is None:
        numbers = [k for k, hint in hints.items() if k.startswith("problem.") and _is_integer(hint)]
        raise _no_option("size", options.size_option, numbers)
    return key


def _mode_key(options: FeasibilityOptions, hints: Mapping[str, Any]) -> str | None:
    """Return the key of the option that sets the mode; None for a problem with a single mode."""
    key = _key(options.mode_option, hints)
    default = FeasibilityOptions.__dataclass_fields__["mode_option"].default
    if key is None and (options.mode_option != default or set(options.modes) - {ONE_MODE}):
        choices = [k for k, hint in hints.items() if _choices(hint) and "." in k]
        raise _no_option("mode", options.mode_option, choices)
    return key


def _no_option(what: str, option: str, keys: Iterable[str]) -> OptionError:
    known = [key.removeprefix("problem.") for key in keys]
    near = suggest(option, known) if known else "it has none"
    reason = f"the problem has no such option; name the one that sets the {what}; {near}"
    return OptionError(FeasibilityOptions, f"{what}_option", option, reason)


def _key(option: str, hints: Mapping[str, Any]) -> str | None:
    """Return the key of an option of the problem, or of rule.OPTION, or of a setting."""
    return next((key for key in (f"problem.{option}", option) if key in hints), None)


def _default_sizes(base: RunConfig, key: str) -> tuple[int, ...]:
    """Return 1, 2 and 3 times the value that an option has by default."""
    of, _, name = key.rpartition(".")
    default = getattr({"problem": base.problem, "rule": base.rule}.get(of, base.settings), name)
    if not isinstance(default, int) or isinstance(default, bool):
        reason = f"name the sizes; {key} is {default} by default"
        raise OptionError(FeasibilityOptions, "sizes", "", reason)
    return tuple(factor * default for factor in (1, 2, 3))


def _all_modes(hints: Mapping[str, Any], key: str | None) -> tuple[str, ...]:
    if key is None:
        return (ONE_MODE,)
    if not _choices(hints[key]):
        raise OptionError(FeasibilityOptions, "modes", "", f"name the values of {key}")
    return _choices(hints[key])


def _choices(hint: Any) -> tuple[str, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


def _is_integer(hint: Any) -> bool:
    return hint is int or (hasattr(hint, "__metadata__") and hint.__origin__ is int)
