"""Scale-invariant physics with the discrete inverse solver, against Adam, at equal CPU time.

    python runs/ldft/sip_flips.py [key=value ...]

Every method trains the default generator of ldft2d from the same parameters and batches for the
same CPU seconds of this process; pin it to one core. Prints the area error of the rounded designs
on 64 new targets, for each seed, and writes them as CSV.
"""

import dataclasses
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import pandas as pd

from physopt.objective import Objective, build
from physopt.optimizers.first_order import Adam
from physopt.optimizers.sip import SIP
from physopt.options import Options, PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.problems.ldft.named import LDFT2D
from physopt.rule import UpdateRule
from physopt.script import script

PROBLEM = LDFT2D(misfit="smooth_area", textures=("white", "correlated"), optimised_fraction=0)
FLIPS = PROBLEM.replace(inverse="flips", relaxation="straight_through")


@dataclass(frozen=True)
class ComparisonOptions(Options):
    """Budget of the comparison."""

    seconds: PositiveFloat = 20.0
    """CPU seconds of training of each run."""

    batch_size: PositiveInt = 8
    """Samples per update."""

    seeds: tuple[int, ...] = (0, 1)
    """Seeds of the initial parameters and of the batches."""

    methods: tuple[str, ...] = ()
    """Methods that run, all by default."""

    out: Path = Path("runs/results/sip_flips.csv")
    """Table of the errors."""


def methods() -> dict[str, tuple[LDFT2D, UpdateRule]]:
    """Return problem and rule of each method."""
    sip = SIP(schedule="cosine", repeat=4)
    return {
        "adam": (PROBLEM, Adam(schedule="cosine")),
        "sip, relaxed": (PROBLEM, sip),
        "sip, 1 trial": (FLIPS.replace(inverse_iterations=1), sip),
        "sip, 4 trials": (FLIPS.replace(inverse_iterations=4), sip),
        "sip, 4 trials, margin 0.1": (
            FLIPS.replace(inverse_iterations=4, inverse_margin=0.1),
            sip,
        ),
        "sip, 16 trials": (
            FLIPS.replace(inverse_iterations=16),
            dataclasses.replace(sip, repeat=8),
        ),
    }


def train(
    problem: LDFT2D, rule: UpdateRule, options: ComparisonOptions, seed: int
) -> tuple[int, float]:
    """Return the number of updates and the area error in per cent of the rounded designs."""
    objective, params = build(problem, "default", seed)
    key = jax.random.key(seed + 1)
    state = jax.jit(rule.init)(objective, params, key)
    draw = jax.jit(lambda key: problem.sample(jax.random.split(key, options.batch_size)))

    @jax.jit
    def update(objective: Objective, params, state, batch: Batch, key):
        updates, state, _ = rule.update(objective, params, state, batch, key)
        return optax.apply_updates(params, updates), state

    step, spent = 0, 0.0
    while spent < options.seconds:
        batch = draw(jax.random.fold_in(key, step)).at(spent / options.seconds)
        start = time.process_time()
        after = jax.block_until_ready(update(objective, params, state, batch, key))
        if step == 0:  # the first call compiles; its result counts, its time does not
            start = time.process_time()
        (params, state), step = after, step + 1
        spent += time.process_time() - start
    return step, error(problem, objective.predict(params, targets(problem).inputs))


def targets(problem: LDFT2D) -> Batch:
    """Return 64 isotherms of matrices that no training batch holds."""
    return jax.jit(problem.held_out)(jax.random.split(jax.random.key(77), 64)).at(1.0)


def error(problem: LDFT2D, x: jax.Array) -> float:
    """Return the mean area error of the rounded matrices, in per cent."""
    batch = targets(problem)
    measure = jax.jit(partial(problem.metrics, y=batch.target, batch=batch))
    return float(np.mean(measure(x)["area_percent"]))


def compare(options: ComparisonOptions) -> None:
    """Train every method with every seed; print and write the errors."""
    rows = []
    for name, (problem, rule) in methods().items():
        if options.methods and name not in options.methods:
            continue
        for seed in options.seeds:
            updates, percent = train(problem, rule, options, seed)
            rows.append({"method": name, "seed": seed, "updates": updates, "error": percent})
            print(f"{name}, seed {seed}: {percent:.2f} % after {updates} updates", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    sys.exit(script(ComparisonOptions, compare, __doc__, sys.argv[1:]))
