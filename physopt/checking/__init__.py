"""Check: test the interface of a problem or a rule, with messages for its author."""

from collections.abc import Iterator

from physopt.checking.findings import Checks, Failed, Finding
from physopt.checking.problem import problem_checks
from physopt.checking.rule import rule_checks
from physopt.machine.failures import own_words
from physopt.options import Options
from physopt.problem import Problem
from physopt.rule import UpdateRule


def check(options: Options) -> list[Finding]:
    """Test a problem or a rule; return one finding per check."""
    if isinstance(options, Problem):
        return list(_findings(problem_checks(options)))
    if isinstance(options, UpdateRule):
        return list(_findings(rule_checks(options)))
    reason = f"{type(options).__name__} derives from neither physopt.Problem nor physopt.UpdateRule"
    return [Finding("is a problem or a rule", False, reason)]


def _findings(checks: Checks) -> Iterator[Finding]:
    for claim, test in checks:
        try:
            yield Finding(claim, True, test())
        except Failed as failed:
            yield Finding(claim, False, str(failed))
        except Exception as error:
            yield Finding(claim, False, own_words(error)[:600])
