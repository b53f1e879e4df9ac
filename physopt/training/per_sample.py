"""network=none: no network; x itself is optimised, one independent unknown per sample.

This is the classical iterative solver, with any update rule. Rule and objective are unchanged: the
parameters are x [batch, ...], and the rule's init and update are vmapped over samples, so that each
sample has its own L-BFGS memory, Gauss-Newton system or acceptance step.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from physopt.machine.mesh import spread
from physopt.objective import Objective
from physopt.problem import Batch, Problem, Tree
from physopt.rule import Info, Parameters, State, UpdateRule


class Unknowns(nnx.Module):
    """A network that ignores its inputs: x [batch, ...] are its parameters."""

    def __init__(self, x: Tree):
        leaves, self.structure = jax.tree.flatten(x)
        self.leaves = nnx.List([nnx.Param(leaf) for leaf in leaves])

    def __call__(self, inputs: Tree) -> Tree:
        """Return x."""
        return jax.tree.unflatten(self.structure, [leaf[...] for leaf in self.leaves])


def build_unknowns(
    problem: Problem, x: Tree, mesh: Mesh | None = None
) -> tuple[Objective, Parameters]:
    """Return the objective whose parameters are x [batch, ...] itself, and these parameters."""
    graphdef, params, rest = nnx.split(Unknowns(x), nnx.Param, ...)
    count = sum(leaf[0].size for leaf in jax.tree.leaves(params))
    return Objective(problem, graphdef, rest, count, mesh), params


@dataclasses.dataclass(frozen=True)
class PerSample(UpdateRule):
    """A rule applied to every sample independently."""

    rule: UpdateRule

    def refuses(self, objective: Objective) -> str | None:
        """Return the rule's own reason to refuse an objective."""
        return self.rule.refuses(objective)

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str | None:
        """Describe how one sample's update is computed."""
        one = jax.tree.map(lambda leaf: leaf[:1], (params, batch))
        return self.rule.plan(objective, *one)

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return one state per sample, stacked."""
        params, keys = _lanes(params), jax.random.split(key, _size(params))
        return jax.vmap(self.rule.init, in_axes=(None, 0, 0))(objective, params, keys)

    def update(
        self,
        objective: Objective,
        params: Parameters,
        state: State,
        batch: Batch,
        key: jax.Array,
    ) -> tuple[Parameters, State, Info]:
        """Update every sample; losses and norms are averaged, costs are summed."""
        keys = jax.random.split(key, _size(params))
        unsharded = dataclasses.replace(objective, mesh=None)
        updates, state, info = spread(
            jax.vmap(partial(self.rule.update, unsharded)), objective.mesh,
            _lanes(params), state, _lanes(batch), keys,
        )  # fmt: skip
        return jax.tree.map(lambda leaf: leaf[:, 0], updates), state, _summary(info)

    def evaluated(self, params: Parameters, state: State) -> Parameters:
        """Return the rule's own choice for every sample."""
        result = jax.vmap(self.rule.evaluated)(_lanes(params), state)
        return jax.tree.map(lambda leaf: leaf[:, 0], result)


def _lanes(tree: Any) -> Any:
    """Give every sample its own batch axis: [batch, ...] -> [batch, 1, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], tree)


def _size(params: Parameters) -> int:
    return jax.tree.leaves(params)[0].shape[0]


def _summary(info: Info) -> Info:
    return {
        name: jnp.sum(value) if jnp.issubdtype(value.dtype, jnp.integer) else jnp.mean(value)
        for name, value in info.items()
    }
