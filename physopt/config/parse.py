"""Arguments: key=value on the command line, and TOML files, as flat {"problem.size": "10"}.

Files are read before the command line, so that what is typed takes precedence. Values stay text
here; `physopt.config.text` reads them by the annotations of the option classes.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from physopt.config.registry import Kind, find, names
from physopt.config.settings import Settings
from physopt.config.text import value_text
from physopt.options import OptionError, annotations

KINDS: tuple[Kind, Kind] = ("problem", "rule")


def flat_arguments(tokens: list[str]) -> dict[str, str]:
    """Return {key: text} from tokens, each `key=value` or the name of a TOML file.

    A problem or rule that is typed discards the options that a file has for another one.
    Raises OptionError as `typed_arguments` does.
    """
    files = {t: flat_keys(load_toml(t)) for t in tokens if t.endswith(".toml") and "=" not in t}
    flat = {key: value_text(value) for file in files.values() for key, value in file.items()}
    typed = typed_arguments(token for token in tokens if token not in files)
    replaced = tuple(f"{key}." for key, value in typed.items() if flat.get(key, value) != value)
    return {key: text for key, text in flat.items() if not key.startswith(replaced)} | typed


def typed_arguments(tokens: Iterable[str]) -> dict[str, str]:
    """Return {key: text} from tokens `key=value`.

    Raises OptionError for a token of another form, and for a key that is given twice.
    """
    typed: dict[str, str] = {}
    for token in tokens:
        key, equals, value = token.removeprefix("--").partition("=")
        if not equals:
            raise OptionError(object, "argument", token, "expected key=value or a .toml file")
        if key in typed:
            raise OptionError(object, key, value, f"is given twice, {typed[key]} before")
        typed[key] = value
    return typed


def split_names(flat: dict[str, str], *, required: bool = True) -> tuple[dict[str, str], Any, Any]:
    """Take problem and rule out of the arguments; return (the rest, problem class, rule class).

    Raises OptionError for an unknown name, and for an absent one if they are required.
    """
    rest, classes = dict(flat), []
    for kind in KINDS:
        name = rest.pop(kind, None)
        if name is None and required:
            known = ", ".join(names(kind))
            raise OptionError(object, kind, "", f"name a {kind}; known: {known}")
        given = {k.removeprefix(f"{kind}."): v for k, v in rest.items() if k.startswith(f"{kind}.")}
        classes.append(None if name is None else find(kind, name, given))
    return rest, *classes


def option_hints(cls: type, prefix: str = "") -> dict[str, Any]:
    """Return {prefix + option: annotation} of an option class."""
    return {prefix + name: hint for name, hint in annotations(cls).items()}


def run_hints(problem: type, rule: type) -> dict[str, Any]:
    """Return {key: annotation} of all options of a run."""
    return option_hints(problem, "problem.") | option_hints(rule, "rule.") | option_hints(Settings)


def load_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file; raise OptionError if it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(object, "file", path, str(error)) from None


def flat_keys(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one with dotted keys; the key `name` is dropped from the path.

    {"problem": {"name": "ldft2d", "size": 10}} -> {"problem": "ldft2d", "problem.size": 10}
    """
    flat = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat.update(flat_keys(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}".removesuffix(".name")] = value
    return flat
