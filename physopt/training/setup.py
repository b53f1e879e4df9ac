"""Setup: build objective, parameters and data of a config."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from physopt.config import RunConfig
from physopt.config.settings import Settings
from physopt.machine import devices
from physopt.numerics.keys import key_of
from physopt.objective import Objective, build
from physopt.problem import Batch, Plans, Problem, Tree
from physopt.rule import Parameters, PlanError, UpdateRule
from physopt.training import warm_start
from physopt.training.data import (
    SameSamples,
    Source,
    TrainingSet,
    held_out_samples,
    scored_twice,
    stays_the_same,
    training_source,
)
from physopt.training.loop import Carry, initial_carry, measured
from physopt.training.per_sample import PerSample, build_unknowns, initial_unknowns

CHANGING_BATCHES = (
    "Warning: this rule learns from the difference of two updates, which is noise if their batches "
    "differ; use train_size=batch_size"
)
"""Warning for a rule with `one_batch` whose batches change."""


class Setup(NamedTuple):
    """Inputs of training and prediction."""

    objective: Objective
    rule: UpdateRule
    params: Parameters
    source: Source
    held_out: Batch  # validation samples, then as many test samples
    key: jax.Array

    def initial_carry(self) -> Carry:
        """Return the carry before the first update."""
        return initial_carry(self.rule, self.objective, self.params, self.source, self.key)

    def predict(self, params: Parameters, inputs: Tree) -> Tree:
        """Predict x as evaluation does: batch statistics are those of the first training batch."""
        objective = measured(self.objective, params, self.source)
        return objective.predict(params, inputs, train=False)


class Refused(Exception):
    """A rule refuses a problem; the message is the reason."""


def prepare(config: RunConfig, mesh: Mesh | None = None) -> Setup:
    """Build objective, initial parameters and data. Call inside `devices.computing`.

    A batch is sharded over the devices of the mesh, if there is one.

    Raises Refused if the rule refuses the problem, before any physics is compiled.
    """
    settings, problem, rule = config.settings, config.problem, config.rule
    key = key_of(settings.seed)
    if settings.network == "none":
        return _prepare_unknowns(config, key, mesh)
    objective, params = build(problem, settings.network, settings.seed, mesh)
    objective, params = devices.cast((objective, params), settings.dtype)
    _ask(rule, objective)
    held_out = _held_out(problem, settings)
    source = _source_of(problem, settings, lambda: held_out, mesh)
    objective = dataclasses.replace(objective, same_batch=stays_the_same(source))
    return Setup(objective, rule, params, source, held_out, key)


def plan(setup: Setup) -> str | None:
    """Return how physics and rule compute an update, None if in one way; nothing is compiled.

    Raises Refused if no way is within the limits.
    """
    methods: list[str | None] = []

    def trace(params: Parameters, step: jax.Array) -> None:
        batch = setup.source.draw(step).at(0.0)
        methods.append(setup.rule.plan(setup.objective, params, batch))

    try:
        jax.eval_shape(trace, setup.params, jnp.int32(0))
    except PlanError as error:
        raise Refused(str(error)) from None
    problem = setup.objective.problem
    of_physics = problem.plan() if isinstance(problem, Plans) else None
    changing = setup.rule.one_batch and not stays_the_same(setup.source)
    warning = CHANGING_BATCHES if changing else None
    return ". ".join(part for part in (of_physics, *methods, warning) if part) or None


def _prepare_unknowns(config: RunConfig, key: jax.Array, mesh: Mesh | None) -> Setup:
    """Build the setup whose parameters are x itself, one for each held-out sample."""
    settings, problem = config.settings, config.problem
    rule = PerSample(config.rule, settings.tolerance)
    few = jax.eval_shape(problem.sample, jax.random.split(key, 2))
    start = partial(initial_unknowns, problem, settings.seed, settings.dtype)
    shapes = jax.eval_shape(start, few)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    _ask(rule, build_unknowns(problem, zeros)[0])
    held_out = held_out_samples(problem, settings.batch_size)
    objective, params = build_unknowns(problem, jax.jit(start)(held_out), mesh)
    return Setup(objective, rule, params, SameSamples(held_out, mesh), held_out, key)


def started(config: RunConfig, setup: Setup) -> Setup:
    """Return the setup with the best parameters of the run given by `start`.

    With network=none x is the prediction of that run's network. Raises OptionError if the networks
    do not match.
    """
    settings, problem = config.settings, config.problem
    assert settings.start is not None
    network = warm_start.network_of(config)
    if settings.network != "none":
        return setup._replace(params=warm_start.restore(settings.start, setup.params))
    objective, params = build(problem, network, settings.seed)
    objective, params = devices.cast((objective, params), settings.dtype)
    params = warm_start.restore(settings.start, params)
    theirs = warm_start.settings_of(settings.start)
    source = _source_of(problem, theirs, partial(_held_out, problem, theirs))
    predict = jax.jit(setup._replace(objective=objective, source=source).predict)
    x = predict(params, setup.held_out.inputs)
    objective, params = build_unknowns(problem, x, setup.objective.mesh)
    return setup._replace(objective=objective, params=params)


def _held_out(problem: Problem, settings: Settings) -> Batch:
    """Return the held-out samples; with train_on=test the validation set is the test set."""
    held_out = held_out_samples(problem, settings.heldout_size)
    return (
        scored_twice(held_out, settings.heldout_size) if settings.train_on == "test" else held_out
    )


def _source_of(
    problem: Problem,
    settings: Settings,
    held_out: Callable[[], Batch],
    mesh: Mesh | None = None,
) -> Source:
    """Return the training batches of a run with a network: with train_on=test the test set.

    held_out: returns the held-out samples; called if the batches are drawn from them.
    """
    if settings.train_on == "test":
        samples = jax.tree.map(lambda leaf: leaf[: settings.heldout_size], held_out())
        return TrainingSet(samples, settings.batch_size, mesh)
    sizes = settings.batch_size, settings.train_size
    return training_source(problem, settings.seed, *sizes, mesh, settings.redraw)


def _ask(rule: UpdateRule, objective: Objective) -> None:
    if reason := rule.refuses(objective):
        raise Refused(reason)
