"""Check: test what a problem or a rule promises, and say in its author's words what is wrong.

Every check is a function that returns a remark, or raises `Failed` with the reason.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from physopt.devices import cast
from physopt.networks import Dense
from physopt.objective import Objective, build, flatten
from physopt.options import Options, PositiveInt
from physopt.per_sample import PerSample, build_unknowns
from physopt.problem import Batch, EstimatesGradient, Inverts, Linearizes, Problem
from physopt.rule import COUNTS, UpdateRule

SAMPLES = 3


class Finding(NamedTuple):
    """A promise, whether it is kept (None: not tested), and a remark."""

    claim: str
    passed: bool | None
    detail: str


class Failed(Exception):
    """Why a promise is broken."""


def check(options: Options) -> list[Finding]:
    """Test a problem or a rule; return what was found."""
    if isinstance(options, Problem):
        return list(_findings(_problem_checks(options)))
    if isinstance(options, UpdateRule):
        return list(_findings(_rule_checks(options)))
    reason = f"{type(options).__name__} derives from neither physopt.Problem nor physopt.UpdateRule"
    return [Finding("is a problem or a rule", False, reason)]


Checks = Iterator[tuple[str, Callable[[], str]]]


def _findings(checks: Checks) -> Iterator[Finding]:
    for claim, test in checks:
        try:
            yield Finding(claim, True, test())
        except Failed as failed:
            yield Finding(claim, False, str(failed))
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            yield Finding(claim, False, text[:600])


def _options_are_values(options: Options) -> str:
    try:
        hash(options)
    except TypeError as error:
        raise Failed(f"cannot be hashed, which jit needs: {error}; use tuples, not lists") from None
    given = json.loads(json.dumps(options.as_dict()))
    again = type(options)(**{f.name: given[f.name] for f in dataclasses.fields(options)})
    if again != options:
        raise Failed("reading the options back from JSON gives others")
    return ""


# --- problems

# The problem is a static argument, so that all checks share what is compiled once.


@partial(jax.jit, static_argnums=0)
def _sample(problem: Problem, keys: jax.Array) -> Batch:
    return problem.sample(keys)


@partial(jax.jit, static_argnums=0)
def _simulate(problem: Problem, x: Any, batch: Batch) -> Any:
    return problem.simulate(x, batch)


@partial(jax.jit, static_argnums=0)
def _value_and_slope(problem: Problem, x: Any, batch: Batch) -> Any:
    return jax.value_and_grad(lambda x: jnp.mean(problem.loss(problem.simulate(x, batch), batch)))(
        x
    )


def _problem_checks(problem: Problem) -> Checks:
    yield "options can be hashed and stored as JSON", partial(_options_are_values, problem)
    yield "sample: one independent sample per key", partial(_samples_independent, problem)
    yield "network: inputs [batch, ...] -> x [batch, ...]", partial(_network_fits, problem)
    yield "simulate: each sample for itself", partial(_simulate_independent, problem)
    yield "simulate: the same when traced again, and under vmap", partial(_transforms, problem)
    yield "simulate: keeps the precision it is given", partial(_precision_kept, problem)
    yield "gradient agrees with central differences", partial(_gradient_right, problem)
    yield "loss and metrics: one finite number per sample", partial(_loss_per_sample, problem)
    if isinstance(problem, Linearizes):
        yield "linearize: agrees with forward differentiation", partial(_linearize_right, problem)
    if isinstance(problem, Inverts):
        yield "invert: simulate(invert(x)) is nearer the target", partial(_inverse_helps, problem)
    if isinstance(problem, EstimatesGradient):
        yield "estimate_gradient: points along the gradient", partial(_estimate_points, problem)


def _case(problem: Problem) -> tuple[Objective, Any, Batch]:
    """Return the objective, x of an untrained network and a batch at the start of training."""
    keys = jax.random.split(jax.random.key(1), SAMPLES)
    batch = _sample(problem, keys).at(0.0)
    objective, params = build(problem, "default", seed=0)
    objective, params, batch = cast((objective, params, batch), _default_float())
    return objective, jax.jit(objective.predict)(params, batch.inputs), batch


def _default_float() -> str:
    return str(jnp.result_type(float))


def _samples_independent(problem: Problem) -> str:
    keys = jax.random.split(jax.random.key(1), SAMPLES)
    together, again = _sample(problem, keys), _sample(problem, keys)
    for leaf in jax.tree.leaves(together):
        if leaf.ndim == 0 or leaf.shape[0] != SAMPLES:
            raise Failed(f"a leaf has shape {leaf.shape}, not [{SAMPLES}, ...] for {SAMPLES} keys")
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not jnp.all(jnp.isfinite(leaf)):
            raise Failed("a sample is not finite")
    _must_match(together, again, 0.0, "the same keys gave other samples")
    single = _sample(problem, keys[1:2])
    _must_match(_take(together, 1), single, 1e-5, "a sample depends on the keys of the others")
    return ""


def _network_fits(problem: Problem) -> str:
    _, x, batch = _case(problem)
    for leaf in jax.tree.leaves(x):
        if leaf.shape[0] != len(batch):
            raise Failed(
                f"x has shape {leaf.shape}, its first axis is not the batch of {len(batch)}"
            )
    y = _simulate(problem, x, batch)
    shapes = [leaf.shape for leaf in jax.tree.leaves(x)]
    return f"x {shapes}, y {[leaf.shape for leaf in jax.tree.leaves(y)]}"


def _simulate_independent(problem: Problem) -> str:
    _, x, batch = _case(problem)
    together = _simulate(problem, x, batch)
    for leaf in jax.tree.leaves(together):
        if leaf.shape[:1] != (SAMPLES,):
            raise Failed(f"y has shape {leaf.shape}, not [{SAMPLES}, ...]")
        if not jnp.all(jnp.isfinite(leaf)):
            raise Failed("y is not finite")
    alone = _simulate(problem, _take(x, 1), _take(batch, 1))
    _must_match(_take(together, 1), alone, 1e-4, "y of a sample depends on the other samples")
    return ""


def _transforms(problem: Problem) -> str:
    _, x, batch = _case(problem)
    compiled = _simulate(problem, x, batch)
    # What a program drew or read outside its arguments differs from one trace to the next.
    again = jax.jit(lambda x, batch: problem.simulate(x, batch))(x, batch)
    _must_match(compiled, again, 1e-6, "a second trace gives another y")
    lanes = jax.tree.map(lambda a: a[:, None], (x, batch))
    mapped = jax.tree.map(lambda a: a[:, 0], jax.jit(jax.vmap(problem.simulate))(*lanes))
    _must_match(compiled, mapped, 1e-4, "vmap changes y")
    return ""


def _precision_kept(problem: Problem) -> str:
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            _, x, batch = jax.eval_shape(partial(_case, problem))
            y = jax.eval_shape(problem.simulate, x, batch)
            for name, tree in (("x", x), ("y", y)):
                for leaf in jax.tree.leaves(tree):
                    if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != dtype:
                        raise Failed(f"in {dtype} {name} is {leaf.dtype}")
    return ""


def _gradient_right(problem: Problem) -> str:
    with jax.enable_x64(True):
        _, x, batch = _case(problem)
        direction = _random_like(x, 2)
        _, gradient = _value_and_slope(problem, x, batch)
        slope = float(jnp.asarray(optax.tree.vdot(gradient, direction)))
        # A central difference errs by h^2 and by rounding / h; three h tell which of the two.
        errors = {}
        for h in (1e-3, 1e-4, 1e-5):
            ahead, behind = (
                float(
                    _value_and_slope(problem, optax.tree.add_scale(x, shift, direction), batch)[0]
                )
                for shift in (h, -h)
            )
            difference = (ahead - behind) / (2 * h)
            errors[h] = abs(slope - difference) / max(abs(slope), abs(difference), 1e-12)
    best = min(errors.values())
    if not best < 1e-3:
        listed = ", ".join(f"{error:.1e} at h={h:g}" for h, error in errors.items())
        raise Failed(f"the derivative along a random direction is off by {listed} (relative)")
    return f"relative difference {best:.1e} in float64"


def _loss_per_sample(problem: Problem) -> str:
    _, x, batch = _case(problem)
    y = _simulate(problem, x, batch)
    measured = {"loss": problem.loss(y, batch), **jax.jit(problem.metrics)(x, y, batch)}
    for name, value in measured.items():
        if value.shape != (SAMPLES,):
            raise Failed(f"{name} has shape {value.shape}, not [{SAMPLES}]")
        if not jnp.all(jnp.isfinite(value)):
            raise Failed(f"{name} is not finite")
    if problem.target and problem.target[0] not in measured:
        raise Failed(f"target names {problem.target[0]}, which metrics does not return")
    return ", ".join(f"{name} {float(jnp.mean(value)):.3g}" for name, value in measured.items())


def _linearize_right(problem: Problem) -> str:
    with jax.enable_x64(True):
        objective, x, batch = _case(problem)
        y, slope = jax.jit(objective.linearize)(x, batch)
        direction = _random_like(x, 3)
        simulated, tangent = jax.jvp(
            lambda x: flatten(_simulate(problem, x, batch)), (x,), (direction,)
        )
        product = jnp.einsum("bmk,bk->bm", slope, flatten(direction))
        _must_match(simulated, y, 1e-6, "y differs from simulate's")
        _must_match(tangent, product, 1e-4, "dy/dx differs from forward differentiation")
    return ""


def _inverse_helps(problem: Problem) -> str:
    objective, x, batch = _case(problem)
    before = float(objective.mean_loss(x, batch))
    after = float(objective.mean_loss(jax.jit(objective.invert)(x, batch), batch))
    if not after < before:
        raise Failed(f"the loss goes from {before:.4g} to {after:.4g} in one inverse step")
    return f"loss {before:.4g} -> {after:.4g}"


def _estimate_points(problem: Problem) -> str:
    assert isinstance(problem, EstimatesGradient)
    objective, x, batch = _case(problem)
    exact = flatten(jax.grad(objective.mean_loss)(x, batch)).ravel()
    keys = jax.random.split(jax.random.key(4), 16)
    estimates = [flatten(problem.estimate_gradient(x, batch, key)).ravel() for key in keys]
    mean = jnp.mean(jnp.stack(estimates), axis=0)
    cosine = float(
        mean @ exact / jnp.maximum(jnp.linalg.norm(mean) * jnp.linalg.norm(exact), 1e-30)
    )
    if not cosine > 0.5:
        raise Failed(f"the mean of 16 estimates has cosine {cosine:.2f} with the gradient")
    return f"cosine of the mean of 16 estimates with the gradient: {cosine:.3f}"


# --- rules


@dataclasses.dataclass(frozen=True)
class Scaled(Problem):
    """A linear physics whose components differ in scale: y_k = s_k x_k, s from 1 to 1/10."""

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


def _rule_checks(rule: UpdateRule) -> Checks:
    problem = Scaled()
    objective, params = build(problem, "default", seed=0)
    batch = problem.sample(jax.random.split(jax.random.key(1), 8)).at(0.0)
    if reason := rule.refuses(objective):
        yield f"refuses a small dense network: {reason}", lambda: ""
        return
    case = (rule, objective, params, batch)
    yield "options can be hashed and stored as JSON", partial(_options_are_values, rule)
    yield "update: shapes and types stay what they are", partial(_update_fits, *case)
    yield "update: the same for the same key, and when traced again", partial(_update_same, *case)
    yield "update: finite where the Jacobian is zero", partial(_update_on_flat_physics, *case)
    yield "works sample by sample (network=none)", partial(_works_per_sample, rule, problem, batch)
    yield "the loss falls within 200 updates", partial(_loss_falls, *case)


def _update_fits(rule: UpdateRule, objective: Objective, params: Any, batch: Batch) -> str:
    key = jax.random.key(0)
    state = rule.init(objective, params, key)
    updates, after, info = jax.jit(rule.update)(objective, params, state, batch, key)
    for name, old, new in (("parameters", params, updates), ("state", state, after)):
        if jax.tree.structure(old) != jax.tree.structure(new):
            raise Failed(f"the tree of the {name} changes in an update")
        for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True):
            if jnp.shape(a) != jnp.shape(b) or jnp.result_type(a) != jnp.result_type(b):
                raise Failed(
                    f"a leaf of the {name} goes from {jnp.result_type(a)}{list(jnp.shape(a))} "
                    f"to {jnp.result_type(b)}{list(jnp.shape(b))}"
                )
    if "loss" not in info:
        raise Failed("info has no entry loss")
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
    update, traced_again = jax.jit(rule.update), jax.jit(lambda *a: rule.update(*a))
    first, second, again = (
        f(objective, params, state, batch, key)[0] for f in (update, update, traced_again)
    )
    _must_match(first, second, 0.0, "two updates with one key differ")
    _must_match(first, again, 1e-6, "a second trace gives another update")
    return ""


def _update_on_flat_physics(
    rule: UpdateRule, objective: Objective, params: Any, batch: Batch
) -> str:
    key = jax.random.key(0)
    flat = dataclasses.replace(objective, problem=Scaled(flat=True))
    state = rule.init(flat, params, key)
    updates, _, info = jax.jit(rule.update)(flat, params, state, batch, key)
    for leaf in jax.tree.leaves((updates, info)):
        if not jnp.all(jnp.isfinite(leaf)):
            raise Failed("where dy/dtheta is zero the update is not finite; guard the 0/0")
    return ""


def _works_per_sample(rule: UpdateRule, problem: Problem, batch: Batch) -> str:
    objective, x = build_unknowns(problem, jnp.zeros_like(batch.target))
    every, key = PerSample(rule), jax.random.key(0)
    updates, _, _ = jax.jit(every.update)(objective, x, every.init(objective, x, key), batch, key)
    if not all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(updates)):
        raise Failed("the update is not finite")
    return ""


def _loss_falls(rule: UpdateRule, objective: Objective, params: Any, batch: Batch) -> str:
    key = jax.random.key(0)

    def body(step: jax.Array, carry: Any) -> Any:
        params, state = carry
        k = jax.random.fold_in(key, step)
        updates, state, _ = rule.update(objective, params, state, batch.at(step / 200), k)
        return optax.apply_updates(params, updates), state

    begin = (params, rule.init(objective, params, key))
    after, _ = jax.jit(lambda carry: jax.lax.fori_loop(0, 200, body, carry))(begin)
    losses = [float(objective.value(p, batch)) for p in (params, after)]
    if not losses[1] < losses[0]:
        raise Failed(f"from {losses[0]:.4g} to {losses[1]:.4g}")
    return f"{losses[0]:.4g} -> {losses[1]:.4g}"


# --- helpers


def _take(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index : index + 1], tree)


def _random_like(tree: Any, seed: int) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _must_match(expected: Any, found: Any, tolerance: float, reason: str) -> None:
    """Raise Failed unless two trees agree, relative to the largest entry of each leaf."""
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            continue
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = max(1e-12, float(np.max(np.abs(a), initial=0)))
        difference = float(np.max(np.abs(a - b), initial=0)) / scale
        if not difference <= tolerance:
            raise Failed(f"{reason} (relative difference {difference:.1e})")
