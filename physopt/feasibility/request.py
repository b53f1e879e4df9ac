"""Request: the cells of a map, read from the user's options and checked, and their device."""

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
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


class Request(NamedTuple):
    """A requested map."""

    base: RunConfig
    cells: tuple[Cell, ...]
    options: FeasibilityOptions
    device: Device
    limit: float
    """Bytes that a training program may take."""
    size_key: str
    """Key of the option that sets the size, such as problem.size."""
    folder: RunFolder
    """The folder of the table, named by everything that decides a program's memory."""


def read_request(options: FeasibilityOptions, given: Mapping[str, str]) -> Request:
    """Return the map that the options request, with `given` the keys of `run`: {key: text}.

    Raises OptionError for an invalid cell, before anything is compiled.
    """
    given = {"problem": "ldft2d", "rule": "adam", **given}
    _, problem, rule = split_names(given)
    hints = run_hints(problem, rule)
    known = [*hints, "problem", "rule", *option_hints(FeasibilityOptions)]
    for key in given:
        if key not in known:
            raise OptionError(object, key, given[key], f"unknown key; {suggest(key, known)}")
    base = _config(given)
    if base.settings.devices > 1:
        raise OptionError(Settings, "devices", base.settings.devices, "the map is of one device")
    size_key, sizes = _sizes(options, base, hints)
    mode_key, modes = _modes(options, hints)
    for key, option in ((size_key, "sizes"), ("batch_size", "batches"), (mode_key, "modes")):
        if key in given:
            raise OptionError(object, key, given[key], f"is varied by {option}=")
    cells = []
    for mode, size, batch in itertools.product(modes, sizes, options.batches):
        varied = {size_key: size, "batch_size": batch} | ({mode_key: mode} if mode_key else {})
        cells.append(Cell(size, batch, mode, _config(given | varied)))
    device = _device(base, options.timeout)
    limit = options.limit_bytes() or device.memory_limit
    folder = _folder(base, device, [size_key, mode_key])
    return Request(base, tuple(cells), options, device, limit, size_key, folder)


def _config(given: Mapping[str, Any]) -> RunConfig:
    return from_words([f"{key}={value}" for key, value in given.items()])


def _device(config: RunConfig, timeout: float) -> Device:
    with CellProcess() as process:  # this process must not take an accelerator's memory
        answered = process.ask("device", config, timeout)
    if answered.status != "ok":
        raise RuntimeError(f"JAX finds no device: {answered.reason}")
    return Device(**answered.content)


def _folder(base: RunConfig, device: Device, varied: list[str | None]) -> RunFolder:
    """Return the folder of a map in which the options `varied` are varied."""
    run = identity.folder(base, device.kind)
    compiler = [version("jax"), version("jaxlib"), os.environ.get("XLA_FLAGS", "")]
    digest = hashlib.sha256(json.dumps([run.name, *varied, *compiler]).encode()).hexdigest()
    return RunFolder(run.with_name(f"feasibility_{digest[:12]}"))


def _sizes(
    options: FeasibilityOptions, base: RunConfig, hints: Mapping[str, Any]
) -> tuple[str, tuple[int, ...]]:
    """Return the key of the option that sets the size, and its values.

    By default they are 1, 2 and 3 times the value that the option has by default.
    """
    key = _key(options.size_option, hints)
    if key is None:
        integers = [k for k, value in base.problem.as_dict().items() if type(value) is int]
        raise _no_option("size", options.size_option, integers)
    if options.sizes:
        return key, options.sizes
    part, _, name = key.rpartition(".")
    default = getattr(getattr(base, part or "settings"), name)
    if type(default) is not int:
        reason = f"name the sizes; {key} is {default} by default"
        raise OptionError(FeasibilityOptions, "sizes", "", reason)
    return key, tuple(factor * default for factor in (1, 2, 3))


def _modes(
    options: FeasibilityOptions, hints: Mapping[str, Any]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the key of the option that sets the mode, and its values; by default all.

    The key is None for a problem with a single mode.
    """
    key = _key(options.mode_option, hints)
    if key is None:
        if options.mode_option != FeasibilityOptions.mode_option or set(options.modes) - {ONE_MODE}:
            choices = [k.removeprefix("problem.") for k in hints if _choices(hints[k]) and "." in k]
            raise _no_option("mode", options.mode_option, choices)
        return None, (ONE_MODE,)
    values = options.modes or _choices(hints[key])
    if not values:
        raise OptionError(FeasibilityOptions, "modes", "", f"name the values of {key}")
    return key, values


def _key(option: str, hints: Mapping[str, Any]) -> str | None:
    """Return the key of an option of the problem, or of rule.OPTION, or of a setting."""
    return next((key for key in (f"problem.{option}", option) if key in hints), None)


def _no_option(what: str, option: str, known: list[str]) -> OptionError:
    near = suggest(option, known) if known else "it has none"
    reason = f"the problem has no such option; name the one that sets the {what}; {near}"
    return OptionError(FeasibilityOptions, f"{what}_option", option, reason)


def _choices(hint: Any) -> tuple[str, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()
