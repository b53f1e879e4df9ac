"""Commands on problems and rules: list, info, check."""

from physopt.commands import Command, first_word, plain_help
from physopt.config.parse import flat_arguments
from physopt.config.registry import Kind, find, names
from physopt.options import OptionError, from_text, suggest


def _list(words: list[str]) -> int:
    from physopt.commands.show import show_list

    if words:
        raise OptionError(object, "argument", words[0], "list takes no arguments")
    show_list()
    return 0


def _info(words: list[str]) -> int:
    from physopt.commands.show import show_info

    name, rest = first_word(words, "name", "say which problem or rule; `list` names them")
    if rest:
        raise OptionError(object, "argument", rest[0], "info takes one name")
    show_info(name, *_find_any(name))
    return 0


def _check(words: list[str]) -> int:
    from physopt.checking import check
    from physopt.commands.show import show_findings

    name, rest = first_word(words, "name", "say which problem or rule, or file.py:Class")
    _, cls = _find_any(name)
    options = from_text(cls, flat_arguments(rest))
    return show_findings(name, check(options))


def _find_any(name: str) -> tuple[Kind, type]:
    """Find a name among problems and rules."""
    from physopt.rule import UpdateRule

    if ":" not in name:
        both: tuple[Kind, Kind] = ("problem", "rule")
        kinds: list[Kind] = [kind for kind in both if name in names(kind)]
        if not kinds:
            known = [*names("problem"), *names("rule")]
            reason = f"unknown problem or rule; {suggest(name, known)}"
            raise OptionError(object, "name", name, reason)
        return kinds[0], find(kinds[0], name)
    cls = find("problem", name)
    return ("rule" if issubclass(cls, UpdateRule) else "problem"), cls


LIST = Command(
    "list",
    "name all problems and rules",
    _list,
    plain_help("list", "Name all problems and rules, those of installed plug-ins included."),
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
    "test a problem or a rule, your own plug-in above all",
    _check,
    plain_help(
        "check NAME [option=value ...]",
        """
        Test what every problem and rule promises, and say in words what is wrong: gradients
        against finite differences, samples independent of one another, the same result for the
        same seed, under jit and under vmap, types kept, an inverse step that helps.

        python -m physopt check my_problem.py:MyProblem size=8
        python -m physopt check my_rule.py:MyRule
        """,
    ),
)
