"""network=none: no network; x itself is optimised, one independent unknown per sample.

This is the classical iterative solver, with any update rule. Rule and objective are unchanged: the
parameters are x [batch, ...], and the rule's init and update are vmapped over samples, so that each
sample has its own L-BFGS memory, Gauss-Newton system or acceptance step.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from physopt.machine.devices import cast
from physopt.machine.mesh import spread
from physopt.numerics.keys import key_of
from physopt.objective import Objective, build
from physopt.problem import Batch, DrawsUnknowns, Problem, Starts, Tree
from physopt.rule import Info, Parameters, State, UpdateRule
from physopt.training.data import unknowns_keys


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
    return Objective(problem, graphdef, rest, count, mesh, same_batch=True), params


def initial_unknowns(problem: Problem, seed: int, dtype: str, batch: Batch) -> Tree:
    """Return x0 [batch, ...]: drawn or given by the problem, or its untrained network's prediction.

    Such a prediction has a suitable scale and breaks symmetries. Raises OptionError for a problem
    that has none of them.
    """
    if isinstance(problem, DrawsUnknowns):
        return cast(problem.draw_unknowns(unknowns_keys(key_of(seed), len(batch))), dtype)
    if isinstance(problem, Starts):
        return cast(problem.initial_unknowns(batch), dtype)
    objective, params = cast(build(problem, "default", seed), dtype)
    return objective.predict(params, batch.inputs, train=False)


class Solves(NamedTuple):
    """The state of independent solves, one per sample."""

    state: State  # of the rule, leaves [batch, ...]
    first_gradient: jax.Array  # |dL/dx| of the first update [batch], 0 before it
    converged: jax.Array  # [batch] bool


@dataclasses.dataclass(frozen=True)
class PerSample(UpdateRule):
    """A rule applied to every sample independently.

    With a tolerance, a sample is left alone once |dL/dx| <= tolerance |dL/dx|_0 or, for a step dx
    that is not zero, |dx| <= tolerance |x|. A step of zero is a rejected trial.
    """

    rule: UpdateRule
    tolerance: float | None = None

    def refuses(self, objective: Objective) -> str | None:
        """Return the rule's own reason to refuse an objective."""
        return self.rule.refuses(objective)

    def plan(self, objective: Objective, params: Parameters, batch: Batch) -> str | None:
        """Describe how one sample's update is computed."""
        one = jax.tree.map(lambda leaf: leaf[:1], (params, batch))
        return self.rule.plan(objective, *one)

    def init(self, objective: Objective, params: Parameters, key: jax.Array) -> State:
        """Return one state per sample, stacked."""
        size = _size(params)
        keys = jax.random.split(key, size)
        state = jax.vmap(self.rule.init, in_axes=(None, 0, 0))(objective, _lanes(params), keys)
        dtype = jnp.result_type(*jax.tree.leaves(params))
        return Solves(state, jnp.zeros(size, dtype), jnp.zeros(size, bool))

    def update(
        self,
        objective: Objective,
        params: Parameters,
        state: State,
        batch: Batch,
        key: jax.Array,
    ) -> tuple[Parameters, State, Info]:
        """Update every sample that has not converged.

        Losses and norms are averaged, costs are summed. info holds `converged`, a fraction.
        """
        keys = jax.random.split(key, _size(params))
        unsharded = dataclasses.replace(objective, mesh=None)
        updates, inner, info = spread(
            jax.vmap(partial(self.rule.update, unsharded)), objective.mesh,
            _lanes(params), state.state, _lanes(batch), keys,
        )  # fmt: skip
        updates = jax.tree.map(lambda leaf: leaf[:, 0], updates)
        active = ~state.converged
        updates = _where(active, updates, jax.tree.map(jnp.zeros_like, updates))
        inner = _where(active, inner, state.state)
        gradient = info.get("grad_norm", jnp.full(active.shape, jnp.inf))
        gradient = gradient.astype(state.first_gradient.dtype)
        first = jnp.where(state.first_gradient > 0, state.first_gradient, gradient)
        converged = state.converged | jax.vmap(self.rule.converged, axis_size=len(active))(inner)
        if self.tolerance is not None:
            step, size = _norms(updates), _norms(params)
            converged |= (gradient <= self.tolerance * first) & jnp.isfinite(gradient)
            converged |= (step > 0) & (step <= self.tolerance * size)
        info = {**_summary(info, active), "converged": jnp.mean(converged.astype(first.dtype))}
        return updates, Solves(inner, first, converged), info

    def evaluated(self, params: Parameters, state: State) -> Parameters:
        """Return the rule's own choice for every sample."""
        result = jax.vmap(self.rule.evaluated)(_lanes(params), state.state)
        return jax.tree.map(lambda leaf: leaf[:, 0], result)

    def converged(self, state: State) -> jax.Array:
        """Return whether every sample has converged."""
        return jnp.all(state.converged)

    def remark(self, state: State, means: Mapping[str, float]) -> str | None:
        """Return the rule's most frequent remark on a sample."""
        inner, size = jax.device_get(state.state), len(state.converged)
        each = (
            self.rule.remark(jax.tree.map(lambda leaf: leaf[i], inner), means)  # noqa: B023
            for i in range(size)
        )
        remarks = Counter(remark for remark in each if remark)
        if not remarks:
            return None
        remark, count = remarks.most_common(1)[0]
        return remark if size == 1 else f"{count} of {size} samples: {remark}"


def _lanes(tree: Any) -> Any:
    """Give every sample its own batch axis: [batch, ...] -> [batch, 1, ...]."""
    return jax.tree.map(lambda leaf: leaf[:, None], tree)


def _size(params: Parameters) -> int:
    return jax.tree.leaves(params)[0].shape[0]


def _where(mask: jax.Array, tree: Any, other: Any) -> Any:
    """Select whole samples of two trees with leaves [batch, ...] by a mask [batch]."""
    return jax.tree.map(
        lambda a, b: jnp.where(mask.reshape(-1, *(1,) * (a.ndim - 1)), a, b), tree, other
    )


def _norms(tree: Any) -> jax.Array:
    """Return the norm of each sample of a tree with leaves [batch, ...]."""
    return jax.vmap(optax.tree.norm)(tree)


def _summary(info: Info, active: jax.Array) -> Info:
    """Average over samples; sum the counts of those that were updated."""
    return {
        name: jnp.sum(value * active)
        if jnp.issubdtype(value.dtype, jnp.integer)
        else jnp.mean(value)
        for name, value in info.items()
    }
