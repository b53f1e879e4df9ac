"""Commands: one module a group, each command a value that the command line offers.

Help has to come at once, so what is heavy to import waits inside the functions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

from physopt.options import OptionError

EXIT_CODES = {"ok": 0, "target": 0, "budget": 0, "skipped": 3, "interrupted": 130}
"""Exit code of a command that makes one run, by the run's status; 1 for all others."""

LOCKED_EXIT_CODE = 75
"""Exit code where another process is working on the run (EX_TEMPFAIL of sysexits.h)."""


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
