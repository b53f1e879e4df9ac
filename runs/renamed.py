"""Every rule on every problem, with and without the options that the problem declares for it.

    python runs/renamed.py                       # all pairs, at small size
    python runs/renamed.py oscillators,exp hig,sip

A class without `rule_defaults` stands for a plug-in with the same physics: its rules have their own
defaults. Both train on the same batches from the same parameters for the same number of updates. A
ratio above 1.5 shows an option that a rule does not find by itself. Pairs without declared options
are equal by construction and left out.
"""

import sys
from functools import partial

import jax

from physopt.config.presets import suited_options
from physopt.config.registry import find
from physopt.objective import build
from physopt.optimizers import RULES
from physopt.problem import Problem
from physopt.problems import PROBLEMS
from physopt.rule import UpdateRule
from physopt.training.data import training_source
from physopt.training.loop import initial_carry, make_updates

UPDATES, BATCH, OTHERS = 200, 8, 64


def loss(problem: Problem, rule: UpdateRule) -> float:
    """Return the loss of other samples after UPDATES updates on new batches."""
    key = jax.random.key(0)
    objective, params = build(problem, "default", 0)
    source = training_source(problem, 0, BATCH, None)
    carry = initial_carry(rule, objective, params, source, key)
    updates = jax.jit(partial(make_updates, rule))
    carry = updates(objective, carry, source, key, (1 / UPDATES, 0.0), UPDATES)
    others = problem.sample(jax.random.split(jax.random.key(9), OTHERS)).at(1.0)
    return float(jax.jit(objective.value)(carry.params, others))


def main(problems: list[str], rules: list[str]) -> None:
    """Print a row of a Markdown table for each pair with declared options."""
    print(f"| problem | rule | declared options | loss with | without, {UPDATES} updates | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in problems:
        cls = find("problem", name)
        problem = cls(**cls.tiny)
        for rule in (rule for rule in rules if suited_options(cls, find("rule", rule))):
            options = suited_options(cls, find("rule", rule))
            row = [loss(problem, find("rule", rule)(**suited)) for suited in (options, {})]
            words = " ".join(f"{key}={value}" for key, value in options.items())
            cells = f"{row[0]:.3g} | {row[1]:.3g} | {row[1] / row[0]:.3g}"
            print(f"| {name} | {rule} | {words} | {cells} |", flush=True)


if __name__ == "__main__":
    given = [argument.split(",") for argument in sys.argv[1:]]
    main(*(given + [list(PROBLEMS), list(RULES)][len(given) :]))
