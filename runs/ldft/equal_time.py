"""Training of ldft2d by several methods from the same parameters and batches, in equal CPU time."""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from physopt.analysis.words import markdown_table
from physopt.objective import Objective, build
from physopt.options import OptionError, Options, PositiveFloat, PositiveInt
from physopt.problem import Batch
from physopt.problems.ldft.named import LDFT2D
from physopt.rule import UpdateRule

PROBLEM = LDFT2D(misfit="smooth_area", textures=("white", "correlated"), optimised_fraction=0)

BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->"


class Method(NamedTuple):
    """How a network is trained."""

    problem: LDFT2D
    rule: UpdateRule
    batch_size: int = 8
    network: str = "default"


@dataclass(frozen=True)
class ComparisonOptions(Options):
    """Budget of a comparison."""

    seconds: PositiveFloat = 15.0
    """CPU seconds of training of each run."""

    seeds: tuple[int, ...] = (0,)
    """Seeds of the initial parameters and of the batches."""

    methods: tuple[str, ...] = ()
    """Methods that run, all by default."""

    count: PositiveInt = 128
    """Test targets."""

    out: Path | None = None
    """Table to write, a Markdown file with markers; only printed by default."""


class Result(NamedTuple):
    """What a run reached."""

    updates: int
    errors: np.ndarray
    """Area errors of the rounded designs in per cent [count]."""


class Trained(NamedTuple):
    """A network after a number of updates."""

    objective: Objective
    params: Any
    updates: int


def train(method: Method, seconds: float, seed: int) -> Trained:
    """Train a network for the CPU seconds of this process, without compilation."""
    problem, rule = method.problem, method.rule
    objective, params = build(problem, method.network, seed)
    key = jax.random.key(seed + 1)
    state = jax.jit(rule.init)(objective, params, key)
    draw = jax.jit(lambda key: problem.sample(jax.random.split(key, method.batch_size)))

    @jax.jit
    def update(objective: Objective, params: Any, state: Any, batch: Batch, key: jax.Array):
        updates, state, _ = rule.update(objective, params, state, batch, key)
        return optax.apply_updates(params, updates), state

    step, spent = 0, 0.0
    while spent < seconds:
        batch = jax.block_until_ready(draw(jax.random.fold_in(key, step)).at(spent / seconds))
        start = time.process_time()
        after = jax.block_until_ready(update(objective, params, state, batch, key))
        if step == 0:  # the first call compiles; its result counts, its time does not
            start = time.process_time()
        (params, state), step = after, step + 1
        spent += time.process_time() - start
    return Trained(objective, params, step)


def targets(count: int) -> Batch:
    """Return isotherms of random and correlated matrices that no training batch holds."""
    return jax.jit(PROBLEM.held_out)(jax.random.split(jax.random.key(77), count)).at(1.0)


def evaluate(trained: Trained, batch: Batch) -> Result:
    """Return the area errors of the rounded designs."""
    x = jax.jit(trained.objective.predict)(trained.params, batch.inputs)
    measure = jax.jit(partial(PROBLEM.metrics, y=batch.target, batch=batch))
    return Result(trained.updates, np.asarray(measure(x)["area_percent"]))


def compare(methods: dict[str, Method], options: ComparisonOptions) -> None:
    """Train by every method with every seed; print each error, and write the table of means.

    Raises OptionError if a selected method does not exist.
    """
    if unknown := [name for name in options.methods if name not in methods]:
        raise OptionError(ComparisonOptions, "methods", unknown[0], f"not one of {list(methods)}")
    rows, batch = {}, targets(options.count)
    for name, method in methods.items():
        if options.methods and name not in options.methods:
            continue
        rows[name] = []
        for seed in options.seeds:
            result = evaluate(train(method, options.seconds, seed), batch)
            rows[name].append(result)
            print(
                f"{name}, seed {seed}: {result.errors.mean():.2f} %, median "
                f"{np.median(result.errors):.2f}, {result.updates} updates",
                flush=True,
            )
    print(table(rows))
    if options.out:
        write_table(options.out, table(rows))


def table(rows: dict[str, list[Result]]) -> str:
    """Return a Markdown table of errors in per cent: means over seeds, with their range."""
    lines = []
    for name, results in rows.items():
        means = [result.errors.mean() for result in results]
        median = np.mean([np.median(result.errors) for result in results])
        updates = np.mean([result.updates for result in results])
        spread = f"{min(means):.2f} to {max(means):.2f}"
        lines.append([name, f"{updates:.0f}", f"{np.mean(means):.2f}", spread, f"{median:.2f}"])
    heads = ["method", "updates", "error, %", "over the seeds", "median target"]
    return markdown_table(heads, lines)


def write_table(path: Path, text: str) -> None:
    """Replace the table between the markers of a Markdown file; create the file if missing."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    before, _, rest = old.partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}{text}{END}{after}", encoding="utf-8")
