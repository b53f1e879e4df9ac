"""Check: test the interface of a problem or a rule, with messages for its author."""

from collections.abc import Callable

from physopt.checking.findings import Failed, Finding
from physopt.checking.problem import problem_checks
from physopt.checking.rule import rule_checks
from physopt.machine.failures import own_words
from physopt.options import Options
from physopt.problem import Problem
from physopt.rule import UpdateRule


def check(options: Options) -> list[Finding]:
    """Test a problem or a rule; return one finding per check."""
    if isinstance(options, Problem):
        checks = problem_checks(options)
    elif isinstance(options, UpdateRule):
        checks = rule_checks(options)
    else:
        name = type(options).__name__
        reason = f"{name} derives from neither physopt.Problem nor physopt.UpdateRule"
        return [Finding("is a problem or a rule", False, reason)]
    return [_finding(claim, test) for claim, test in checks]


def _finding(claim: str, test: Callable[[], str]) -> Finding:
    try:
        return Finding(claim, True, test())
    except Failed as failed:
        return Finding(claim, False, str(failed))
    except Exception as error:
        return Finding(claim, False, own_words(error)[:600])
