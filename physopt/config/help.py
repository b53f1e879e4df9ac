"""Help: the options of a class with their types, defaults and docstrings, which tyro reads.

tyro is imported only to write a help text: it takes longer to load than a command to start.
"""

import contextlib
import dataclasses
import inspect
import io
import os
import re
import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from physopt.config.presets import suited_options
from physopt.config.settings import Settings
from physopt.config.text import value_text

_KEYS = 26
"""Width of the column of keys."""

_LONGEST_LINE = 100
_NO_BREAK = "\N{NO-BREAK SPACE}"
_ENTRY = re.compile(r"\W*--(\w+) (.+?)(?:\s{2,}(.*))?")
_DEFAULT = re.compile(r"\s*\((default: .*|required)\)$")


def wrapped(text: str) -> str:
    """Wrap the paragraphs of a text at the width of the terminal.

    A paragraph with an indented line, or a line that is a command, stays as it is.
    """
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        kept = re.search(r"(?m)^( |python -m |physopt |eval )", paragraph)
        paragraphs.append(paragraph if kept else _fill(paragraph))
    return "\n\n".join(paragraphs)


def help_text(cls: type, default: Any = None, key_prefix: str = "") -> str:
    """Return the help of an option class, in the key=value form that is typed.

    It begins with the class's docstring. default: an instance with the defaults, the class's own if
    it is None. key_prefix: what precedes the options' names.
    """
    return f"{wrapped(cls.__doc__ or '')}\n\noptions\n{options_text(cls, default, key_prefix)}"


def options_text(cls: type, default: Any = None, key_prefix: str = "") -> str:
    """Return the options of a class, one entry each; arguments as of `help_text`."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    entries = []
    for name, kind, text in _documented(cls):
        value = fields[name].default if default is None else getattr(default, name)
        hint = "required" if value is dataclasses.MISSING else f"default: {value_text(value)}"
        key = f"  {key_prefix}{name}={kind}"
        start = f"{key:{_KEYS}}" if len(key) < _KEYS - 1 else f"{key}\n{' ' * _KEYS}"
        entries.append(start + _fill(text, _KEYS, f"({hint})").lstrip())
    return "\n".join(entries)


def run_help_text(problem: type | None, rule: type | None, settings: Settings) -> str:
    """Return the help of a run: settings with these defaults, then both classes' options.

    The rule's defaults are those that suit the problem.
    """
    texts = [f"options\n{options_text(Settings, settings)}"]
    for kind, cls in (("problem", problem), ("rule", rule)):
        if cls is None:
            continue
        suited = {} if kind == "problem" or problem is None else suited_options(problem, cls)
        default = cls(**suited) if suited else None
        title = f"{kind} options: {(cls.__doc__ or '').partition(chr(10))[0]}"
        texts.append(f"{_fill(title)}\n{options_text(cls, default, f'{kind}.')}")
    return "\n\n".join(texts)


def _documented(cls: type) -> Iterator[tuple[str, str, str]]:
    """Yield name, kind of value and docstring of each option, as tyro reads them."""
    import tyro

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit), _endless_lines():
        config = (tyro.conf.FlagConversionOff,)
        tyro.cli(cls, args=["--help"], config=config, use_underscores=True)
    name, kind, words = "", "", []
    for line in out.getvalue().splitlines():
        entry = _ENTRY.fullmatch(line.rstrip())
        if entry and name:
            yield name, kind, _DEFAULT.sub("", " ".join(words))
        if entry:
            (name, kind, text), words = entry.groups(default=""), []
            kind, words = _as_typed(kind), [text] if text else []
        elif name and line.strip():
            words.append(line.strip())
    if name:
        yield name, kind, _DEFAULT.sub("", " ".join(words))


@contextlib.contextmanager
def _endless_lines() -> Iterator[None]:
    """Have tyro wrap no line: a line that is wrapped twice ends at two widths."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _as_typed(kind: str) -> str:
    """Return tyro's name of a kind of value in the form that is typed: none|INT, a|b, [INT,...]."""
    kind = re.sub(r"\{([^{}]*)\}", lambda match: match[1].replace(",", "|"), kind)
    kind = re.sub(r"\b(None|True|False)\b", lambda match: match[0].lower(), kind)
    return re.sub(r"^\[(\S+) \[\1 \.\.\.\]\]$", r"[\1,...]", kind).replace(" ", ",")


def _fill(text: str, indent: int = 0, last: str = "") -> str:
    """Wrap a text at the width of the terminal; the words `last` share a line if one holds them."""
    width = max(40, min(_LONGEST_LINE, shutil.get_terminal_size().columns - 1))
    together = last.replace(" ", _NO_BREAK) if indent + len(last) <= width else last
    space, words = " " * indent, [*text.split(), together]
    filled = textwrap.fill(
        " ".join(words), width, initial_indent=space, subsequent_indent=space,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return filled.replace(_NO_BREAK, " ")
