"""Rules without the options that a problem declares are within 1.5 times of those with them.

First-order rules are left out: their learning rates have units, and plain descent diverges on some
problems without a bound on its step. So are the network's steps per inverse step of SIP on LDFT:
they are cheap there, and equal time is fair, not an equal number of updates (`renamed.md`).
"""

import sys
from pathlib import Path

import pytest

from physopt.config.presets import suited_options
from physopt.config.registry import find
from physopt.optimizers import RULES

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "runs"))

import renamed

PROBLEMS = ("oscillators", "poisson8", "ldft2d", "pinn_poisson")
FIRST_ORDER = "physopt.optimizers.first_order"


def pairs():
    for problem in PROBLEMS:
        for rule in RULES:
            cls = find("rule", rule)
            options = suited_options(find("problem", problem), cls)
            first_order = cls.__module__.startswith(FIRST_ORDER)
            of_adam = rule == "sip" and set(options) <= {"learning_rate", "repeat"}
            if options and not (first_order or of_adam):
                yield problem, rule


@pytest.mark.parametrize(("problem", "rule"), list(pairs()))
def test_a_renamed_problem_is_within_half_of_the_named_one(problem, rule):
    cls = find("problem", problem)
    options = suited_options(cls, find("rule", rule))
    declared, own = (
        renamed.median_loss(cls(**cls.tiny), find("rule", rule)(**each)) for each in (options, {})
    )
    assert own < 1.5 * declared
