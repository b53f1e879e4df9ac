"""Refinement: the test samples of a finished run, improved by the problem without the network."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from physopt.machine.mesh import spread
from physopt.objective import Objective
from physopt.options import OptionError
from physopt.problem import Batch, Problem, Refines, Tree
from physopt.records.columns import measured_columns
from physopt.rule import Parameters
from physopt.training.setup import Setup


class Refined(NamedTuple):
    """The refined test samples of a run."""

    x: Tree
    """Refined unknowns of all test sets, one after the other [sets * size, ...]."""
    samples: dict[str, np.ndarray]
    """{column: [size]} of METRIC_refined on every test set, float32."""

    def first(self, count: int) -> Tree:
        """Return the first refined unknowns."""
        return jax.tree.map(lambda leaf: leaf[:count], self.x)


def refines_designs(problem: Problem) -> bool:
    """Return whether the designs of a finished run are refined."""
    return isinstance(problem, Refines) and problem.refine > 0 and problem.target is not None


def refined_test_sets(
    setup: Setup, params: Parameters, sets: tuple[str, ...], chunk: int
) -> Refined:
    """Refine the unknowns predicted for all test sets, `chunk` samples at a time.

    sets: the held-out sets, of which the first is the validation set. The problem is one that
    `refines_designs`.
    """
    problem, held_out = setup.objective.problem, setup.held_out
    assert isinstance(problem, Refines)
    assert problem.target is not None
    size = len(held_out) // len(sets)
    x = setup.predict(params, held_out.inputs)
    before, samples = jax.tree.map(lambda leaf: leaf[size:], (x, held_out))
    after, errors = _refine_chunks(setup.objective, before, samples, chunk, problem.refine)
    columns = measured_columns([name := f"{problem.target[0]}_refined"], sets[1:])
    parts = np.split(np.asarray(errors, np.float32), len(sets) - 1)
    of_sets = zip(sets[1:], parts, strict=True)
    return Refined(after, {columns[name, part]: values for part, values in of_sets})


@partial(jax.jit, static_argnames=("chunk", "effort"))
def _refine_chunks(
    objective: Objective, x: Tree, samples: Batch, chunk: int, effort: int
) -> tuple[Tree, jax.Array]:
    size = len(samples)
    pieces = jax.tree.map(lambda a: a.reshape(size // chunk, chunk, *a.shape[1:]), (x, samples))
    function = partial(refine_and_measure, objective.problem, effort=effort)
    result = jax.lax.map(lambda piece: spread(function, objective.mesh, *piece), pieces)
    return jax.tree.map(lambda a: a.reshape(size, *a.shape[2:]), result)


def refine_and_measure(
    problem: Problem, x: Tree, batch: Batch, effort: int
) -> tuple[Tree, jax.Array]:
    """Return the refined unknowns and their metric of the problem's target [batch]."""
    assert isinstance(problem, Refines)
    assert problem.target is not None
    refined = problem.refined(x, batch, effort)
    metrics = problem.metrics(refined, problem.simulate(refined, batch), batch)
    metric = problem.target[0]
    if metric not in metrics:
        raise OptionError(object, "target", metric, "the problem has no such metric")
    return refined, metrics[metric]
