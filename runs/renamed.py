"""Every rule on every problem, with and without the options that the problem declares for it.

    python runs/renamed.py                       # all pairs, at small size; resumes
    python runs/renamed.py oscillators,exp hig,sip

A class without `rule_defaults` stands for a plug-in with the same physics: its rules have their own
defaults. Both train on the same batches from the same parameters for the same number of updates. A
ratio above 1.5 shows an option that a rule does not find by itself. Pairs without declared options
are equal by construction and left out. Rows are appended to renamed.md; pairs that it contains with
the same options are not run again.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np

from physopt.config.presets import suited_options
from physopt.config.registry import find
from physopt.objective import build
from physopt.optimizers import RULES
from physopt.problem import Problem
from physopt.problems import PROBLEMS
from physopt.rule import PlanError, UpdateRule
from physopt.training.data import training_source
from physopt.training.loop import initial_carry, make_updates

UPDATES, BATCH, OTHERS, SEEDS = 200, 8, 64, 3

TABLE = Path(__file__).with_suffix(".md")

HEADER = f"""# Rules without the options that a problem declares

Loss of {OTHERS} other samples after {UPDATES} updates on new batches of {BATCH}, median of {SEEDS}
seeds, at the size of the tests (`tiny`), on one CPU core. Written by `renamed.py`.

| problem | rule | declared options | loss with | loss without | ratio |
| --- | --- | --- | --- | --- | --- |
"""


def median_loss(problem: Problem, rule: UpdateRule) -> float:
    """Return the loss of other samples after UPDATES updates on new batches, over the seeds."""
    updates, key = jax.jit(partial(make_updates, rule)), jax.random.key(0)
    others = problem.sample(jax.random.split(jax.random.key(9), OTHERS)).at(1.0)

    def loss(seed: int) -> float:
        objective, params = build(problem, "default", seed)
        source = training_source(problem, seed, BATCH, None)
        carry = initial_carry(rule, objective, params, source, key)
        carry = updates(objective, carry, source, key, (1 / UPDATES, 0.0), UPDATES)
        return float(jax.jit(objective.value)(carry.params, others))

    return float(np.median([loss(seed) for seed in range(SEEDS)]))


def compared(name: str, rule: str) -> str:
    """Return the cells of a pair: declared options, median losses and their ratio."""
    cls = find("problem", name)
    problem, options = cls(**cls.tiny), suited_options(cls, find("rule", rule))
    try:
        declared, own = (median_loss(problem, find("rule", rule)(**each)) for each in (options, {}))
    except PlanError as error:
        return f"{words(options)} | {error} | | |"
    return f"{words(options)} | {declared:.3g} | {own:.3g} | {own / declared:.3g} |"


def words(options: dict[str, object]) -> str:
    """Return options as on the command line."""
    return " ".join(f"{key}={value}" for key, value in options.items())


def main(problems: list[str], rules: list[str]) -> None:
    """Append a row of the table for each pair with declared options."""
    if not TABLE.exists():
        TABLE.write_text(HEADER)
    for name in problems:
        for rule in rules:
            options = suited_options(find("problem", name), find("rule", rule))
            row = f"| {name} | {rule} | {words(options)} | "
            if not options or row in TABLE.read_text():
                continue
            with TABLE.open("a") as file:
                file.write(f"| {name} | {rule} | {compared(name, rule)}\n")


if __name__ == "__main__":
    given = [argument.split(",") for argument in sys.argv[1:]]
    main(*(given + [list(PROBLEMS), list(RULES)][len(given) :]))
