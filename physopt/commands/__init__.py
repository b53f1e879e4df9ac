"""Commands: one module for each group of commands.

Help has to appear at once: expensive imports are made inside the functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

from physopt.options import OptionError


@dataclass(frozen=True)
class Command:
    """A command of the command line; `call` returns the exit code, `help` the help text."""

    usage: str
    summary: str
    call: Callable[[list[str]], int]
    help: Callable[[list[str]], str]


def plain_help(usage: str, text: str) -> Callable[[list[str]], str]:
    """Return a help function for a fixed text."""
    return lambda words: f"usage: python -m physopt {usage}\n\n{dedent(text).strip()}"


def first_word(words: list[str], key: str, reason: str) -> tuple[str, list[str]]:
    """Return the first word and the others; raise OptionError for `key` if there is none."""
    if not words:
        raise OptionError(object, key, "", reason)
    return words[0], words[1:]
