"""Commands on problems and rules: list, info, check."""

from physopt.commands import Command, first_word, plain_help
from physopt.config.parse import KINDS, flat_arguments
from physopt.config.registry import Kind, find, names
from physopt.config.text import from_text
from physopt.options import OptionError, suggest


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
    show_info(name, *_find_any(name))
    return 0


def _check(words: list[str]) -> int:
    from physopt.checking import check
    from physopt.commands.show import show_findings

    name, rest = first_word(words, "name", "name a problem or a rule, or file.py:Class")
    _, cls = _find_any(name)
    options = from_text(cls, flat_arguments(rest))
    return show_findings(name, check(options))


def _find_any(name: str) -> tuple[Kind, type]:
    """Return kind and class of a problem or rule; raise OptionError for an unknown name."""
    from physopt.rule import UpdateRule

    if ":" not in name:
        kinds: list[Kind] = [kind for kind in KINDS if name in names(kind)]
        if not kinds:
            known = [*names("problem"), *names("rule")]
            reason = f"unknown problem or rule; {suggest(name, known)}"
            raise OptionError(object, "name", name, reason)
        return kinds[0], find(kinds[0], name)
    cls = find("problem", name)
    return ("rule" if issubclass(cls, UpdateRule) else "problem"), cls


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
)
