"""Presets: the options of a rule that a problem declares, in place of the rule's own defaults.

The user's options take precedence over those of the problem.
"""

from typing import Any

from physopt.config.registry import find, name_of
from physopt.options import annotations


def suited_options(problem: type, rule: type) -> dict[str, Any]:
    """Return the options of a rule that a problem declares, {} if the rule's defaults apply."""
    options = dict(problem.rule_defaults.get(name := name_of("rule", rule), {}))
    if options and rule is not (usual := find("rule", name)):
        # Of another optimiser: what suits the usual one's learning rate does not suit this one.
        shared = annotations(rule).keys() - vars(rule).get("__annotations__", {})
        options = {k: v for k, v in options.items() if k in shared and k in annotations(usual)}
    return options
