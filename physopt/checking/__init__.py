"""Check: test the interface of a problem or a rule, with messages for its author."""

from physopt.checking.findings import Failed, Finding
from physopt.checking.problem import problem_checks
from physopt.checking.rule import rule_checks
from physopt.machine.failures import explained
from physopt.options import Options
from physopt.problem import Problem
from physopt.rule import UpdateRule
from physopt.training.display import Display


def check(options: Options, display: Display | None = None) -> list[Finding]:
    """Test a problem or a rule; return one finding per check. `display` receives each as a phase.

    An exception ends the checks: those after it would end by the same cause.
    """
    if isinstance(options, Problem):
        checks = problem_checks(options)
    elif isinstance(options, UpdateRule):
        checks = rule_checks(options)
    else:
        name = type(options).__name__
        reason = f"{name} derives from neither physopt.Problem nor physopt.UpdateRule"
        return [Finding("is a problem or a rule", False, reason)]
    findings, display = [], display or Display()
    for claim, test in checks:
        display.phase(f"checking: {claim}")
        try:
            findings.append(Finding(claim, True, test()))
        except Failed as failed:
            findings.append(Finding(claim, False, str(failed)))
        except Exception as error:
            findings.append(Finding(claim, False, explained(error)[:600]))
            break
    return findings
