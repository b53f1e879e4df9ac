"""Commands: one module for each group of commands.

Help has to appear at once: expensive imports are made inside the functions.
"""

from collections.abc import Callable
from dataclasses import dataclass

from physopt.config.help import help_text, wrapped
from physopt.options import OptionError


@dataclass(frozen=True)
class Command:
    """A command of the command line; `call` returns the exit code, `help` the help text.

    The other fields are for completion: the class of its own options, and whether it takes those of
    a run, or the name of a problem or a rule.
    """

    usage: str
    summary: str
    call: Callable[[list[str]], int]
    help: Callable[[list[str]], str]
    options: type | None = None
    takes_run: bool = False
    takes_name: bool = False


def plain_help(usage: str, text: str, options: type | None = None) -> Callable[[list[str]], str]:
    """Return a help function for a fixed text, followed by the help of an option class."""

    def text_for_terminal(words: list[str]) -> str:
        about = f"usage: python -m physopt {usage}\n\n{wrapped(text)}"
        return about if options is None else f"{about}\n\n{help_text(options)}"

    return text_for_terminal


def first_word(words: list[str], key: str, reason: str) -> tuple[str, list[str]]:
    """Return the first word and the others; raise OptionError for `key` if there is none."""
    if not words:
        raise OptionError(object, key, "", reason)
    return words[0], words[1:]
