"""Commands on problems and rules: list, info, check."""

import sys

from physopt.commands import Command, first_word, plain_help
from physopt.config.parse import flat_arguments
from physopt.config.registry import find_any
from physopt.config.text import from_text
from physopt.options import OptionError


def _list(words: list[str]) -> int:
    from physopt.commands.show import show_list

    if words:
        raise OptionError(object, "argument", words[0], "list takes no arguments")
    show_list()
    return 0


def _info(words: list[str]) -> int:
    from physopt.commands.show import show_info

    name, rest = first_word(words, "name", "name a problem or a rule; `list` shows them all")
    if rest:
        raise OptionError(object, "argument", rest[0], "info takes one name")
    show_info(name, *find_any(name))
    return 0


def _check(words: list[str]) -> int:
    from physopt.training.display import activity

    name, rest = first_word(words, "name", "name a problem or a rule, or file.py:Class")
    with activity() as display:
        from physopt.checking import check
        from physopt.commands.show import show_findings

        _, cls = find_any(name)
        # In a log the claims stand in the list of findings.
        live = display if sys.stdout.isatty() else None
        findings = check(from_text(cls, flat_arguments(rest)), live)
    return show_findings(name, findings)


LIST = Command(
    "list",
    "list all problems and rules",
    _list,
    plain_help("list", "List all problems and rules, including those of installed plug-ins."),
)

INFO = Command(
    "info NAME",
    "explain a problem or a rule and its options",
    _info,
    plain_help(
        "info NAME",
        """
        Explain a problem or a rule: equations, source, options and their defaults.

        python -m physopt info ldft2d
        python -m physopt info my_problem.py:MyProblem
        """,
    ),
    takes_name=True,
)

CHECK = Command(
    "check NAME [option=value ...]",
    "test a problem or a rule, such as your own plug-in",
    _check,
    plain_help(
        "check NAME [option=value ...]",
        """
        Test the contract of every problem and rule, and describe each violation: gradients agree
        with finite differences; samples do not depend on one another; the result is the same for
        the same seed, under jit and under vmap; types are kept; an inverse step reduces the loss.

        python -m physopt check my_problem.py:MyProblem size=8
        python -m physopt check my_rule.py:MyRule
        """,
    ),
    takes_name=True,
)
