"""Checks of a rule: types, reproducible updates, finite steps, a decreasing loss."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from physopt.checking.findings import Checks, Failed, must_match, options_are_values
from physopt.networks import Dense
from physopt.objective import Objective, build
from physopt.options import PositiveInt
from physopt.problem import Batch, Problem
from physopt.records.columns import measured_columns
from physopt.rule import COUNTS, PlanError, UpdateRule
from physopt.training.per_sample import PerSample, build_unknowns


@dataclasses.dataclass(frozen=True)
class Scaled(Problem):
    """A linear physics with components of different scale: y_k = s_k x_k, s from 1 to 1/10."""

    size: PositiveInt = 4
    flat: bool = False  # all scales 0: a physics that does not respond

    def _scales(self) -> np.ndarray:
        return np.logspace(0, -1, self.size) * (not self.flat)

    def sample(self, keys: jax.Array) -> Batch:
        """Draw targets from a normal distribution."""
        target = jax.vmap(lambda key: jax.random.normal(key, (self.size,)))(keys)
        return Batch(target, target)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make a small dense network."""
        return Dense((self.size, 8, self.size), rngs)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Scale each component."""
        return x * jnp.asarray(self._scales(), x.dtype)

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Solve exactly."""
        return batch.target / jnp.asarray(self._scales(), x.dtype)


@partial(jax.jit, static_argnums=0)
def _update(rule: UpdateRule, *arguments: Any) -> Any:
    """Return an update, compiled once for all checks."""
    return rule.update(*arguments)


def rule_checks(rule: UpdateRule) -> Checks:
    """Yield the checks of a rule, on a small linear problem."""
    problem = Scaled()
    objective, params = build(problem, "default", seed=0)
    batch = problem.sample(jax.random.split(jax.random.key(1), 8)).at(0.0)
    if reason := rule.refuses(objective):
        yield f"refuses a small dense network: {reason}", lambda: ""
        return
    case = (rule, objective, params, batch)
    yield "options can be hashed and stored as JSON", partial(options_are_values, rule)
    yield "update: keeps shapes and types", partial(_update_fits, *case)
    yield "update: the same for the same key, and when traced again", partial(_update_same, *case)
    yield "update: finite where the Jacobian is zero", partial(_update_on_flat_physics, *case)
    yield "works sample by sample (network=none)", partial(_works_per_sample, rule, problem, batch)
    yield "the loss falls within 200 updates", partial(_loss_falls, *case)


def _update_fits(rule: UpdateRule, objective: Objective, params: Any, batch: Batch) -> str:
    key = jax.random.key(0)
    state = rule.init(objective, params, key)
    updates, after, info = _update(rule, objective, params, state, batch, key)
    evaluated = jax.eval_shape(rule.evaluated, params, after)
    for name, old, new in (
        ("parameters", params, updates),
        ("state", state, after),
        ("evaluated parameters", params, evaluated),
    ):
        if jax.tree.structure(old) != jax.tree.structure(new):
            raise Failed(f"the tree of the {name} changes in an update")
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
            before, now = (f"{jnp.result_type(x)}{list(jnp.shape(x))}" for x in (a, b))
            if before != now:
                raise Failed(f"a leaf of the {name} goes from {before} to {now}")
    if "loss" not in info:
        raise Failed("info has no entry loss")
    measured_columns(("loss",), ("validation", "test"), info)
    counted = [name for name in COUNTS if name in info]
    if not counted:
        raise Failed("info counts no cost; add **physopt.cost(simulate=..., vjp=...)")
    wrong = [name for name in counted if not jnp.issubdtype(info[name].dtype, jnp.integer)]
    if wrong:
        raise Failed(f"{wrong[0]} is no integer")
    return ", ".join(f"{name} {int(info[name])}" for name in counted)


def _update_same(rule: UpdateRule, objective: Objective, params: Any, batch: Batch) -> str:
    key = jax.random.key(0)
    state = rule.init(objective, params, key)
    traced_again = jax.jit(lambda *arguments: rule.update(*arguments))
    first, second = (_update(rule, objective, params, state, batch, key)[0] for _ in range(2))
    again = traced_again(objective, params, state, batch, key)[0]
    must_match(first, second, 0.0, "two updates with one key differ")
    must_match(first, again, 1e-6, "a second trace gives another update")
    return ""


def _update_on_flat_physics(
    rule: UpdateRule, objective: Objective, params: Any, batch: Batch
) -> str:
    key = jax.random.key(0)
    flat = dataclasses.replace(objective, problem=Scaled(flat=True))
    state = rule.init(flat, params, key)
    updates, _, info = _update(rule, flat, params, state, batch, key)
    if not all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((updates, info))):
        raise Failed("where dy/dtheta is zero the update is not finite; guard the 0/0")
    return ""


def _works_per_sample(rule: UpdateRule, problem: Problem, batch: Batch) -> str:
    objective, x = build_unknowns(problem, jnp.zeros_like(batch.target))
    every, key = PerSample(rule), jax.random.key(0)
    try:
        every.plan(objective, x, batch)
    except PlanError as error:
        return f"refused: {error}"
    updates, _, _ = jax.jit(every.update)(objective, x, every.init(objective, x, key), batch, key)
    if not all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(updates)):
        raise Failed("the update is not finite")
    return ""


def _loss_falls(rule: UpdateRule, objective: Objective, params: Any, batch: Batch) -> str:
    key = jax.random.key(0)
    begin, state = params, rule.init(objective, params, key)
    for step in range(200):
        now, k = batch.at(step / 200), jax.random.fold_in(key, step)
        updates, state, _ = _update(rule, objective, params, state, now, k)
        params = optax.apply_updates(params, updates)
    losses = [float(objective.value(p, batch)) for p in (begin, rule.evaluated(params, state))]
    if not losses[1] < losses[0]:
        raise Failed(f"from {losses[0]:.4g} to {losses[1]:.4g}")
    return f"{losses[0]:.4g} -> {losses[1]:.4g}"
