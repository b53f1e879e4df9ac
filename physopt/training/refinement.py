"""Refinement: the test samples of a finished run, improved by the problem without the network."""

from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from physopt.machine.pieces import in_pieces
from physopt.options import OptionError
from physopt.problem import Batch, Problem, Refines, Tree
from physopt.records.columns import measured_columns
from physopt.rule import Parameters
from physopt.training.setup import Setup

TOGETHER = 64
"""Samples refined at a time, which bounds the memory."""


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


def refined_test_sets(setup: Setup, params: Parameters, sets: tuple[str, ...]) -> Refined:
    """Refine the unknowns predicted for all test sets.

    sets: the held-out sets, of which the first is the validation set. The problem is one that
    `refines_designs`.
    """
    problem, held_out = setup.objective.problem, setup.held_out
    assert isinstance(problem, Refines)
    assert problem.target is not None
    size = len(held_out) // len(sets)
    x = setup.predict(params, held_out.inputs)
    before, samples = jax.tree.map(lambda leaf: leaf[size:], (x, held_out))
    after, errors = refine_and_measure(
        problem, before, samples, problem.refine, setup.objective.mesh
    )
    columns = measured_columns([name := f"{problem.target[0]}_refined"], sets[1:])
    parts = np.split(np.asarray(errors, np.float32), len(sets) - 1)
    of_sets = zip(sets[1:], parts, strict=True)
    return Refined(after, {columns[name, part]: values for part, values in of_sets})


def refine_and_measure(
    problem: Problem, x: Tree, batch: Batch, effort: int, mesh: Mesh | None = None
) -> tuple[Tree, jax.Array]:
    """Return the refined unknowns and their metric of the problem's target [batch]."""
    assert isinstance(problem, Refines)
    assert problem.target is not None

    def refine(x: Tree, batch: Batch) -> Tree:
        return problem.refined(x, batch, effort)

    def measure(x: Tree, batch: Batch) -> dict[str, jax.Array]:
        return problem.metrics(x, problem.simulate(x, batch), batch)

    refined = in_pieces(refine, x, batch, size=TOGETHER, mesh=mesh)
    metrics = in_pieces(measure, refined, batch, size=TOGETHER, mesh=mesh)
    metric = problem.target[0]
    if metric not in metrics:
        raise OptionError(object, "target", metric, "the problem has no such metric")
    return refined, metrics[metric]
