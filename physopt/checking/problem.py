"""Checks of a problem: gradients, independence of samples, precision, its inverse solver."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from physopt.checking.differences import along_random_direction, loss_and_gradient
from physopt.checking.findings import Checks, Failed, must_match, options_are_values
from physopt.checking.refusals import known_rules, refusal, served_text
from physopt.config.run_config import network_names
from physopt.machine.devices import cast
from physopt.numerics.modes import no_forward_mode
from physopt.objective import Objective, build, flatten
from physopt.problem import Batch, Inverts, Linearizes, MeasuresSet, Problem
from physopt.records.columns import measured_columns
from physopt.rule import UpdateRule
from physopt.training.data import held_out_sets
from physopt.training.measuring import measurements, set_columns, set_metrics
from physopt.training.per_sample import PerSample, build_unknowns, initial_unknowns

SAMPLES = 3

OFFSET = 1e-2
"""Size of the random shift of x away from a kink."""

ESTIMATORS: dict[str, tuple[float, ...]] = {
    "estimate_gradient": (),
    "estimate_gradient_equilibrium": (1e-2,),
    "estimate_gradient_coupled": (1e-2,),
    "estimate_gradient_subsampled": (0.5,),
    "simulate_randomized": (0.5,),
}
"""Methods that estimate dL/dx, or y with an estimate of its derivative, and options for tests."""

# Compiled once for all checks: the problem is static, in an objective too.


@partial(jax.jit, static_argnums=0)
def _sample(problem: Problem, keys: jax.Array) -> Batch:
    return problem.sample(keys)


@partial(jax.jit, static_argnums=0)
def _simulate(problem: Problem, x: Any, batch: Batch) -> Any:
    return problem.simulate(x, batch)


def problem_checks(problem: Problem) -> Checks:
    """Yield the checks of a problem."""
    yield "options can be hashed and stored as JSON", partial(options_are_values, problem)
    yield "sample: one independent sample per key", partial(_samples_independent, problem)
    source = "network: inputs" if _has_network(problem) else "initial_unknowns: samples"
    yield f"{source} [batch, ...] -> x [batch, ...]", partial(_unknowns_fit, problem)
    yield "simulate: samples are independent", partial(_simulate_independent, problem)
    yield "simulate: the same when traced again, and under vmap", partial(_transforms, problem)
    yield "simulate: keeps the precision it is given", partial(_precision_kept, problem)
    yield "gradient agrees with central differences", partial(_gradient_right, problem)
    yield "modes of differentiation, and rules that need no other", partial(_modes, problem)
    yield "loss and metrics: one finite number per sample", partial(_loss_per_sample, problem)
    if hasattr(problem, "set_terms") or hasattr(problem, "set_metrics"):
        claim = "set_terms and set_metrics: finite numbers, whatever the order of samples"
        yield claim, partial(_set_metrics_right, problem)
    if isinstance(problem, Linearizes):
        yield "linearize: agrees with differentiation", partial(_linearize_right, problem)
    if isinstance(problem, Inverts):
        yield "invert: brings simulate(x) closer to the target", partial(_inverse_helps, problem)
    for name, options in ESTIMATORS.items():
        if hasattr(problem, name):
            test = partial(_estimate_points, problem, name, options)
            yield f"{name}: points along the gradient", test


def _case(problem: Problem) -> tuple[Objective, Any, Batch]:
    """Return the objective, x of an untrained network and a batch at the start of training.

    Without a network x are the problem's own initial unknowns.
    """
    keys, dtype = jax.random.split(jax.random.key(1), SAMPLES), str(jnp.result_type(float))
    batch = cast(_sample(problem, keys).at(0.0), dtype)
    if not _has_network(problem):
        x = initial_unknowns(problem, 0, dtype, batch)
        return build_unknowns(problem, x)[0], x, batch
    objective, params = cast(build(problem, "default", seed=0), dtype)
    return objective, jax.jit(objective.predict)(params, batch.inputs), batch


def _has_network(problem: Problem) -> bool:
    return "default" in network_names(problem)


def _samples_independent(problem: Problem) -> str:
    keys = jax.random.split(jax.random.key(1), SAMPLES)
    together, again = _sample(problem, keys), _sample(problem, keys)
    for leaf in jax.tree.leaves(together):
        if leaf.ndim == 0 or leaf.shape[0] != SAMPLES:
            raise Failed(f"a leaf has shape {leaf.shape}, not [{SAMPLES}, ...] for {SAMPLES} keys")
        if jnp.issubdtype(leaf.dtype, jnp.floating) and not jnp.all(jnp.isfinite(leaf)):
            raise Failed("a sample is not finite")
    must_match(together, again, 0.0, "the same keys gave other samples")
    single = _sample(problem, keys[1:2])
    must_match(_second(together), single, 1e-5, "a sample depends on the keys of the others")
    return ""


def _unknowns_fit(problem: Problem) -> str:
    _, x, batch = _case(problem)
    for leaf in jax.tree.leaves(x):
        if leaf.shape[0] != SAMPLES:
            raise Failed(f"x has shape {leaf.shape}; its first axis is not the batch of {SAMPLES}")
        if jnp.iscomplexobj(leaf):  # gradients of complex numbers are conjugate: a rule would climb
            raise Failed("x is complex; return its real and imaginary part as two real arrays")
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
    alone = _simulate(problem, _second(x), _second(batch))
    must_match(_second(together), alone, 1e-4, "y of a sample depends on the other samples")
    return ""


def _transforms(problem: Problem) -> str:
    _, x, batch = _case(problem)
    compiled = _simulate(problem, x, batch)
    # Values that are drawn or read outside the arguments differ between traces.
    again = jax.jit(lambda x, batch: problem.simulate(x, batch))(x, batch)
    must_match(compiled, again, 1e-6, "a second trace gives another y")
    lanes = jax.tree.map(lambda a: a[:, None], (x, batch))
    mapped = jax.tree.map(lambda a: a[:, 0], jax.jit(jax.vmap(problem.simulate))(*lanes))
    must_match(compiled, mapped, 1e-4, "vmap changes y")
    return ""


def _precision_kept(problem: Problem) -> str:
    for dtype in ("float32", "float64"):
        with jax.enable_x64(dtype == "float64"):
            _, x, batch = jax.eval_shape(partial(_case, problem))
            y = jax.eval_shape(problem.simulate, x, batch)
            for name, tree in (("x", x), ("y", y)):
                for leaf in jax.tree.leaves(tree):
                    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                        continue
                    if jnp.finfo(leaf.dtype).dtype != dtype:  # float32 for complex64
                        raise Failed(f"in {dtype} {name} is {leaf.dtype}")
    return ""


def _gradient_right(problem: Problem) -> str:
    with jax.enable_x64(True):
        objective, x, batch = _case(problem)
        where = ""
        compared = along_random_direction(objective, x, batch)
        if not compared.agree and compared.kinked:
            # Either one-sided slope is right at a kink, such as that of a network whose first
            # outputs are zero and an interpolation between grid points.
            x = optax.tree.add_scale(x, OFFSET, optax.tree.random_like(jax.random.key(5), x))
            compared = along_random_direction(objective, x, batch)
            where = f", beside the network's first x, where the loss has a kink (offset {OFFSET:g})"
    if not compared.agree:
        raise Failed(f"the derivative along a random direction is off by {compared}{where}")
    return f"relative difference {min(compared.errors.values()):.1e} in float64{where}"


def _modes(problem: Problem) -> str:
    objective, x, batch = _case(problem)
    if no_forward_mode(lambda x: problem.simulate(x, batch), x) is None:
        return "forward and reverse"
    rules: dict[str, UpdateRule] = known_rules(type(problem))
    if _has_network(problem):
        objective, params = build(problem, "default", seed=0)
    else:
        objective, params = build_unknowns(problem, x)
        rules = {name: PerSample(rule) for name, rule in rules.items()}
    refusals = {name: refusal(rule, objective, params, batch) for name, rule in rules.items()}
    return f"reverse only, as of an adjoint\n{served_text(refusals)}"


def _loss_per_sample(problem: Problem) -> str:
    _, x, batch = _case(problem)
    measured, terms = jax.jit(partial(measurements, problem))(x, batch)
    measured_columns(measured, held_out_sets(problem))
    for name, value in measured.items():
        if value.shape != (SAMPLES,):
            raise Failed(f"{name} has shape {value.shape}, not [{SAMPLES}]")
        if not jnp.all(jnp.isfinite(value)):
            raise Failed(f"{name} is not finite")
    alone, _ = jax.jit(partial(measurements, problem))(_second(x), _second(batch))
    for name, value in measured.items():
        reason = f"{name} of a sample depends on the other samples"
        must_match(_second(value), alone[name], 1e-4, reason)
    if problem.target and problem.target[0] not in {*measured, *set_metrics(problem, terms)}:
        raise Failed(f"target names {problem.target[0]}, which metrics does not return")
    return ", ".join(f"{name} {float(jnp.mean(value)):.3g}" for name, value in measured.items())


def _set_metrics_right(problem: Problem) -> str:
    if not isinstance(problem, MeasuresSet):
        raise Failed("set_terms and set_metrics belong together; one of them is missing")
    _, x, batch = _case(problem)
    measure = jax.jit(partial(measurements, problem))
    measured = jax.device_get(measure(x, batch))
    terms, sets = measured.terms, held_out_sets(problem)
    for name, value in terms.items():
        if np.shape(value) != (SAMPLES,) or not np.all(np.isfinite(value)):
            raise Failed(f"the term {name} is not [{SAMPLES}] finite numbers")
    alone = measure(_second(x), _second(batch)).terms
    must_match(_second(terms), alone, 1e-4, "a term of a sample depends on the other samples")
    set_columns(problem, jax.tree.map(lambda a: np.tile(a, len(sets)), measured), sets)
    metrics = set_metrics(problem, terms)
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Failed(f"{name} is {value}")
    backwards = set_metrics(problem, {name: value[::-1] for name, value in terms.items()})
    values = [[np.asarray(value) for value in each.values()] for each in (metrics, backwards)]
    must_match(values[0], values[1], 1e-6, "a metric depends on the order of the samples")
    return ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())


def _linearize_right(problem: Problem) -> str:
    with jax.enable_x64(True):
        objective, x, batch = _case(problem)
        y, slope = jax.jit(objective.linearize)(x, batch)

        def simulate(x: Any) -> jax.Array:
            return flatten(_simulate(problem, x, batch))

        if no_forward_mode(simulate, x) is None:
            direction = optax.tree.random_like(jax.random.key(3), x)
            simulated, derivative = jax.jvp(simulate, (x,), (direction,))
            product, mode = jnp.einsum("bmk,bk->bm", slope, flatten(direction)), "forward"
        else:
            simulated, pull = jax.vjp(simulate, x)
            direction = jax.random.normal(jax.random.key(3), y.shape, y.dtype)
            derivative = flatten(pull(direction)[0])
            product, mode = jnp.einsum("bmk,bm->bk", slope, direction), "reverse"
        must_match(simulated, y, 1e-6, "y differs from simulate's")
        must_match(derivative, product, 1e-4, f"dy/dx differs from {mode} differentiation")
    return ""


def _inverse_helps(problem: Problem) -> str:
    objective, x, batch = _case(problem)
    before = float(objective.mean_loss(x, batch))
    after = float(objective.mean_loss(jax.jit(objective.invert)(x, batch), batch))
    if not after < before:
        raise Failed(f"the loss goes from {before:.4g} to {after:.4g} in one inverse step")
    return f"loss {before:.4g} -> {after:.4g}"


def _estimate_points(problem: Problem, name: str, options: tuple[float, ...]) -> str:
    objective, x, batch = _case(problem)
    exact = flatten(loss_and_gradient(objective, x, batch)[1]).ravel()
    method = getattr(problem, name)

    def direct(x: Any, key: jax.Array) -> Any:
        return method(x, batch, key, *options)

    def loss(x: Any, key: jax.Array) -> jax.Array:
        return jnp.mean(problem.loss(direct(x, key), batch))

    gradient = jax.grad(loss) if name.startswith("simulate") else direct
    estimate = jax.jit(partial(gradient, x))
    keys = jax.random.split(jax.random.key(4), 16)
    estimates = [flatten(estimate(key)).ravel() for key in keys]
    mean = jnp.mean(jnp.stack(estimates), axis=0)
    norms = jnp.linalg.norm(mean) * jnp.linalg.norm(exact)
    cosine = float(mean @ exact / jnp.maximum(norms, 1e-30))
    if not cosine > 0.5:
        raise Failed(f"the mean of 16 estimates has cosine {cosine:.2f} with the gradient")
    return f"cosine of the mean of 16 estimates with the gradient: {cosine:.3f}"


def _second(tree: Any) -> Any:
    """Return the second sample of a batch, as a batch of one."""
    return jax.tree.map(lambda leaf: leaf[1:2], tree)
