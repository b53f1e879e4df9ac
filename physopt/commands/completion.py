"""Command completion: the words that a shell can complete.

The script of a shell asks `physopt completion candidates LINE`, so that the names of installed
plug-ins and the options of the problem and the rule on the line are known.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from physopt.commands import Command, first_word, plain_help
from physopt.config.parse import KINDS, option_hints
from physopt.config.registry import Kind, find, names, needs_no_trust, short_names
from physopt.config.settings import Settings
from physopt.config.text import value_text
from physopt.options import OptionError, suggest

SCRIPTS = {
    "bash": r"""_physopt() {
    local IFS=$'\n' line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##* }"
    COMPREPLY=($(physopt completion candidates "$line" 2>/dev/null))
    # readline replaces only the part of a word that follows its last = or :
    COMPREPLY=("${COMPREPLY[@]#"${word%"$2"}"}")
    if (( ${#COMPREPLY[@]} )); then compopt -o nospace; fi
}
complete -o default -F _physopt physopt""",
    "zsh": r"""_physopt() {
    local line="${(j: :)words[1,CURRENT-1]} $PREFIX"
    local -a candidates=("${(@f)$(physopt completion candidates "$line" 2>/dev/null)}")
    if [[ -n $candidates[1] ]]; then
        compadd -Q -S '' -- $candidates
    else
        compset -P '*='
        _files
    fi
}
compdef _physopt physopt""",
    "fish": "complete -c physopt -a "
    "'(physopt completion candidates (commandline -cp) 2>/dev/null | string trim)'",
}
"""A candidate that ends a word has a space at its end."""

_USAGE = "completion SHELL"


def command(commands: Mapping[str, Command]) -> Command:
    """Return the command that completes the words of these commands."""

    def call(words: list[str]) -> int:
        shell, rest = first_word(words, "shell", f"name your shell: {', '.join(SCRIPTS)}")
        if shell == "candidates":
            print("\n".join(candidates(rest[0] if rest else "", commands)))
            return 0
        if shell not in SCRIPTS:
            raise OptionError(object, "shell", shell, suggest(shell, SCRIPTS))
        print(SCRIPTS[shell])
        return 0

    return Command(_USAGE, "print a script that completes commands and keys", call, _HELP)


_HELP = plain_help(
    _USAGE,
    """
    Print a script for bash, zsh or fish that completes commands, keys and values of `physopt`:

    eval "$(physopt completion bash)"       # in ~/.bashrc
    eval "$(physopt completion zsh)"        # in ~/.zshrc, after compinit
    physopt completion fish | source        # in ~/.config/fish/config.fish
    """,
)


def candidates(line: str, commands: Mapping[str, Command]) -> list[str]:
    """Return the words that complete the last word of a line, sorted."""
    *before, word = line.split(" ")
    before = [other for other in before if other][1:]
    if not before:
        return sorted(f"{name} " for name in commands if name.startswith(word))
    if before[0] not in commands:
        return []
    key, equals, value = word.partition("=")
    with suppress(OptionError):  # a name on the line may be unknown
        if not equals:
            offered = _words(commands[before[0]], before[1:], word)
            return sorted(text for text in offered if text.startswith(word) and text != word)
        first, comma, last = value.rpartition(",")
        values = (v for v in _values(key, commands[before[0]], before[1:]) if v.startswith(last))
        return sorted(f"{key}={first}{comma}{v} " for v in values)
    return []


def _words(command: Command, before: list[str], word: str) -> Iterator[str]:
    """Yield names and keys; those of a class, which take a second to import, if asked for."""
    if command.takes_name and not before:
        yield from (f"{name} " for kind in KINDS for name in _names(kind))
    yield from (f"{key}=" for key in _hints(command, before, word))
    if command.takes_run:
        yield from (f"{kind}=" for kind in KINDS)
        yield from (f"{kind}." for kind in KINDS if _named(kind, before))


def _values(key: str, command: Command, before: list[str]) -> Iterator[str]:
    for kind in KINDS:
        if key == kind and command.takes_run:
            yield from _names(kind)
    yield from _choices(_hints(command, before, key).get(key, object))


def _hints(command: Command, before: list[str], word: str) -> dict[str, Any]:
    """Return {key: annotation} of a command; for problem.KEY and rule.KEY if the word is one."""
    hints = option_hints(command.options) if command.options else {}
    if not command.takes_run:
        return hints
    for kind in KINDS:
        name = _named(kind, before)
        if name and word.startswith(f"{kind}."):
            hints = option_hints(find(kind, name), f"{kind}.") | hints
    return option_hints(Settings) | hints


def _named(kind: Kind, before: list[str]) -> str | None:
    """Return the first name of a kind on the line; no file of the user's, which would be run."""
    values = (word.removeprefix(f"{kind}=") for word in before if word.startswith(f"{kind}="))
    name = next(values, "").partition(",")[0]
    return name if name and needs_no_trust(kind, name) else None


def _names(kind: Kind) -> list[str]:
    return [name for known in names(kind) for name in (known, *short_names(kind, known))]


def _choices(hint: Any) -> Iterator[str]:
    """Yield the values of an annotation, as they are typed, that can be listed."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        yield from map(value_text, arguments)
    elif origin is Annotated:
        yield from _choices(arguments[0])
    elif origin in (Union, UnionType, tuple):
        for argument in arguments:
            yield from _choices(argument)
    elif hint is bool:
        yield from ("true", "false")
    elif hint is NoneType:
        yield "none"
