"""Scripts: programs of users whose options are typed as those of the commands."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from physopt.config.help import help_text
from physopt.config.parse import flat_arguments
from physopt.config.text import from_text
from physopt.options import OptionError

HELP = ("help", "--help", "-h")


def script(
    cls: type, work: Callable[[Any], int | None], about: str | None, words: Sequence[str]
) -> int:
    """Call `work` with the options read from the words; return the exit code.

    cls: a frozen dataclass of options. about: text of the help before the options, such as the
    script's docstring. The exit codes are those of `python -m physopt`: the one that `work` returns
    (None is 0), 2 for wrong arguments, 130 for Ctrl-C.
    """
    if set(words) & set(HELP):
        print((about or "").strip(), help_text(cls), sep="\n\n")
        return 0
    try:
        return work(from_text(cls, flat_arguments(list(words)))) or 0
    except OptionError as error:
        print(f"{error.key}={error.value}: {error.reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
