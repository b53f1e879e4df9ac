"""Refusals: which rules can train a problem, by the needs that they declare.

A rule declares them in `refuses` and in `plan`, which trace shapes and compile nothing.
"""

from collections.abc import Mapping
from typing import Any

import jax

from physopt.config.presets import suited_options
from physopt.config.registry import find, names
from physopt.objective import Objective
from physopt.options import OptionError
from physopt.rule import PlanError, UpdateRule


def refusal(rule: UpdateRule, objective: Objective, params: Any, batch: Any) -> str | None:
    """Return why a rule cannot train an objective, None if it can; arrays may be shapes."""
    if reason := rule.refuses(objective):
        return reason

    def trace(params: Any, batch: Any) -> None:
        rule.plan(objective, params, batch)

    try:
        jax.eval_shape(trace, params, batch)
    except PlanError as error:
        return str(error)
    return None


def known_rules(problem: type) -> dict[str, UpdateRule]:
    """Return every rule that is installed with the options that suit a problem, by name."""
    rules = {}
    for name in names("rule"):
        try:
            cls = find("rule", name)
        except OptionError:  # an optional dependency is missing
            continue
        rules[name] = cls(**suited_options(problem, cls))
    return rules


def served_text(refusals: Mapping[str, str | None]) -> str:
    """Return {rule: reason or None} as lines: the rules that serve, and the others by reason."""
    serving = [rule for rule, reason in refusals.items() if reason is None]
    by_reason: dict[str, list[str]] = {}
    for rule, reason in refusals.items():
        if reason is not None:
            by_reason.setdefault(reason, []).append(rule)
    others = [f"not by {', '.join(rules)}: {reason}" for reason, rules in by_reason.items()]
    return "\n".join([f"served by {', '.join(serving)}", *others])
