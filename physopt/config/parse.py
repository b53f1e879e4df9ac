"""Arguments: key=value on the command line, and TOML files, as typed options.

tyro reads the types, the defaults and the help texts from the option classes. In front of it stand
a few rewritings: `problem.size=10` for `--problem.size 10`, `[256,256]` for a list, `none`, `true`
and `false`. Files come first and the command line after them, so that the latter prevails.
"""

import contextlib
import dataclasses
import io
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

from physopt.config.presets import suited_options
from physopt.config.registry import Kind, find, names
from physopt.config.settings import Settings
from physopt.options import OptionError, Options, suggest

_SettingsWithoutPrefix = Annotated[Settings, tyro.conf.arg(name="")]


def flat_arguments(tokens: list[str]) -> dict[str, str]:
    """Read tokens, `key=value` or a TOML file's name, as {key: text}.

    A problem or rule that is typed leaves behind the options that a file has for another one.
    Raises OptionError for a token of another form.
    """
    files = {t: read_toml(t) for t in tokens if t.endswith(".toml") and "=" not in t}
    flat = {key: value_text(value) for file in files.values() for key, value in file.items()}
    typed = {}
    for token in tokens:
        if token in files:
            continue
        key, equals, value = token.removeprefix("--").partition("=")
        if not equals:
            raise OptionError(object, "argument", token, "expected key=value or a .toml file")
        typed[key] = value
    replaced = tuple(f"{key}." for key, value in typed.items() if flat.get(key, value) != value)
    return {key: text for key, text in flat.items() if not key.startswith(replaced)} | typed


def parse(cls: type, flat: dict[str, str], command: str) -> Any:
    """Make an option class from {key: text}.

    Raises OptionError, with the nearest key or value, where one does not fit.
    """
    hints = option_hints(cls)
    for key in flat:
        if key not in hints:
            raise OptionError(object, key, flat[key], f"unknown key; {suggest(key, hints)}")
        if get_origin(hints[key]) is Literal and flat[key] not in get_args(hints[key]):
            raise OptionError(object, key, flat[key], suggest(flat[key], get_args(hints[key])))
    words = [word for key, text in flat.items() for word in _words(key, text, hints[key])]
    try:
        return _tyro(cls, words, command)
    except _Unreadable as unreadable:
        key, reason = unreadable.args
        raise OptionError(object, key, flat.get(key, ""), reason) from None


def help_text(cls: type, command: str) -> str:
    """Return the help of an option class, in the key=value form that is typed.

    It begins with the class's docstring; usage and examples are the command's to tell.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        _cli(cls, ["--help"], command)
    options = out.getvalue().partition("\n\n")[2]
    return _spell(
        re.sub(r"(?m)^\W*-h, --help\b(.*\n)(\s+show this help.*\n)?", "", options)
    ).rstrip()


def run_class(problem: type | None, rule: type | None, settings: Settings) -> type:
    """Make the option class of a run: settings with these defaults, and both classes' options.

    A rule has the defaults that suit the problem.
    """
    fields: list[Any] = [] if problem is None else [("problem", problem)]
    if rule is not None:
        suited = {} if problem is None else suited_options(problem, rule)
        default = [dataclasses.field(default=rule(**suited))] if suited else []
        fields.append(("rule", rule, *default))
    own = ("settings", _SettingsWithoutPrefix, dataclasses.field(default=settings))
    return dataclasses.make_dataclass("RunArguments", [*fields, own], frozen=True, kw_only=True)


def split_names(flat: dict[str, str], *, required: bool = True) -> tuple[dict[str, str], Any, Any]:
    """Take problem and rule out of the arguments; return (the rest, problem class, rule class)."""
    rest, classes = dict(flat), []
    kinds: tuple[Kind, Kind] = ("problem", "rule")
    for kind in kinds:
        name = rest.pop(kind, None)
        if name is None and required:
            known = ", ".join(names(kind))
            raise OptionError(object, kind, "", f"say which {kind}; known: {known}")
        classes.append(None if name is None else find(kind, name))
    return rest, *classes


def option_hints(cls: type, prefix: str = "") -> dict[str, Any]:
    """Return {dotted key: annotation} of all options of a class."""
    hints = {}
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if name not in {field.name for field in dataclasses.fields(cls)}:
            continue
        inner = get_args(hint)[0] if hint == _SettingsWithoutPrefix else hint
        if isinstance(inner, type) and issubclass(inner, Options):
            below = prefix if inner is Settings else f"{prefix}{name}."
            hints |= option_hints(inner, below)
        else:
            hints[prefix + name] = hint
    return hints


def read_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file as flat keys: [problem] name = "ldft2d", size = 10 becomes
    {"problem": "ldft2d", "problem.size": 10}.

    Raises OptionError where the file cannot be read.
    """
    return flat_keys(load_toml(path))


def load_toml(path: Path | str) -> dict[str, Any]:
    """Read a TOML file; raise OptionError where it cannot be read."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(object, "file", path, str(error)) from None


def flat_keys(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, with dotted keys; a table's name stands for the table."""
    flat = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat.update(flat_keys(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}".removesuffix(".name")] = value
    return flat


def value_text(value: Any) -> str:
    """Write a value of a TOML file as it would be typed."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _words(key: str, text: str, hint: Any) -> list[str]:
    """Write an argument as tyro reads it."""
    if text.startswith("[") and text.endswith("]"):
        return [f"--{key}", *(item.strip() for item in text[1:-1].split(",") if item.strip())]
    if text == "none" and type(None) in get_args(hint):
        text = "None"
    if text in ("true", "false") and bool in (hint, *get_args(hint)):
        text = text.capitalize()
    return [f"--{key}={text}"]


def _cli(cls: type, words: list[str], command: str) -> Any:
    return tyro.cli(
        cls,
        args=words,
        prog=f"python -m physopt {command}",
        config=(tyro.conf.FlagConversionOff,),
        use_underscores=True,
    )


def _tyro(cls: type, words: list[str], command: str) -> Any:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return _cli(cls, words, command)
    except SystemExit as stop:
        # An option class refused a value: its own error says more than what tyro made of it.
        error: BaseException | None = stop
        while error is not None:
            if isinstance(error, OptionError):
                raise error from None
            error = error.__cause__ or error.__context__
        raise _Unreadable(*_complaint(complaint.getvalue())) from None


class _Unreadable(Exception):
    """tyro could not read the arguments: the key at fault, and the reason."""


def _complaint(box: str) -> tuple[str, str]:
    """Return the key and the first paragraph of tyro's boxed error message."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    first = []
    for line in lines:
        if not line or set(line) == {"─"}:
            break
        first.append(line)
    text = " ".join(first)
    key = re.search(r"--([\w.]+)", text)
    reason = re.sub(r"^Error parsing --\S+: ", "", text).replace("--", "")
    return (key.group(1) if key else "argument"), reason


def _spell(text: str) -> str:
    """Rewrite tyro's `--key TYPE` as `key=TYPE`, with the columns where they were."""

    def rewrite(match: re.Match[str]) -> str:
        key, kind = match.group(1), match.group(2)
        kind = kind.replace("{True,False}", "true|false").replace("{None}", "none")
        kind = kind.replace("{None,", "{none,")
        kind = re.sub(r"^\[(\w+) \[\1 \.\.\.\]\]$", r"[\1,...]", kind)
        return f"{key}={kind}".ljust(len(match.group(0)))

    spelled = re.sub(r"--([\w.]+) (\[[^\]]*\]\]|\S+)", rewrite, text)
    return spelled.replace("(default: None)", "(default: none)")
