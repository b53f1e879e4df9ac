"""Commands: one module a group, each command a value that the command line offers.

Help has to come at once, so what is heavy to import waits inside the functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

from physopt.options import OptionError


@dataclass(frozen=True)
class Command:
    """A command: how it is typed, what it does, the function, and the function of its help."""

    usage: str
    summary: str
    call: Callable[[list[str]], int]
    help: Callable[[list[str]], str]


def plain_help(usage: str, text: str) -> Callable[[list[str]], str]:
    """Return a help function that always says the same."""
    return lambda words: f"usage: python -m physopt {usage}\n\n{dedent(text).strip()}"


def first_word(words: list[str], key: str, reason: str) -> tuple[str, list[str]]:
    """Return the first word and the others; raise OptionError for `key` where there is none."""
    if not words:
        raise OptionError(object, key, "", reason)
    return words[0], words[1:]
