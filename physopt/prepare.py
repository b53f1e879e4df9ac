"""Prepare: make what a config describes."""

from functools import partial
from typing import NamedTuple

import jax

from physopt import devices
from physopt.config import RunConfig
from physopt.data import SameSamples, Source, held_out_samples, training_source
from physopt.objective import Objective, build
from physopt.per_sample import PerSample, build_unknowns
from physopt.problem import Batch
from physopt.rule import Parameters, UpdateRule


class Setup(NamedTuple):
    """All that training and prediction need."""

    objective: Objective
    rule: UpdateRule
    params: Parameters
    source: Source
    held_out: Batch  # validation samples, then as many test samples
    key: jax.Array


def prepare(config: RunConfig) -> Setup:
    """Build objective, initial parameters and data. Call inside `devices.computing`."""
    settings, problem, rule = config.settings, config.problem, config.rule
    key = jax.random.key(settings.seed)
    solved = settings.network == "none"
    held_out = held_out_samples(problem, settings.batch_size if solved else settings.heldout_size)
    network = "default" if solved else settings.network
    objective, params = build(problem, network, settings.seed)
    objective, params = devices.cast((objective, params), settings.dtype)
    if solved:
        # An untrained network's prediction has the scale and the asymmetry that the physics needs.
        x = jax.jit(partial(objective.predict, train=False))(params, held_out.inputs)
        objective, params = build_unknowns(problem, x)
        return Setup(objective, PerSample(rule), params, SameSamples(held_out), held_out, key)
    source = training_source(problem, settings.seed, settings.batch_size, settings.train_size)
    return Setup(objective, rule, params, source, held_out, key)
