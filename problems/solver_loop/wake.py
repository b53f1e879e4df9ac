"""The problem `wake`: correct a coarse solver of the flow behind a cylinder."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from physopt.options import Bounds, NonNegativeInt, PositiveInt
from physopt.problems.solver_loop import wake_flow
from physopt.problems.solver_loop.coarse import CoarseSolver, Reference
from physopt.problems.solver_loop.loop import CorrectedSimulation
from physopt.problems.solver_loop.wake_flow import TIME_STEP, Flow, advance

TRAINING = 160e3 * 2.0 ** np.arange(6)
"""Re of the training simulations, in turn."""

TEST = 240e3 * 2.0 ** np.arange(5)
"""Re from which each held-out simulation draws."""

VELOCITY = 0.5
"""Typical velocity, by which the network's inputs are divided."""


@dataclasses.dataclass(frozen=True)
class Wake(CorrectedSimulation):
    """Correct a coarse solver of the vortices behind a cylinder after every step.

    Incompressible flow with an inflow and open sides, for a range of viscosities (`wake_flow`).
    Corrections x [batch, n, 2 m, m, 2] are added to the velocity on faces after each of n steps of
    the coarse solver P: s_i = P(s_{i-1}) + x_i. The states y [batch, n, 2 m, m, 2] should be those
    of a finer simulation, y*, whose fluxes are averaged to the coarse faces: loss 1/(2 n) sum
    (y - y*)^2. velocity_mae is the mean of |y - y*|, improvement = 1 - sum velocity_mae / sum
    velocity_mae without corrections. The network is part of the loop: it computes x_i from
    P(s_{i-1}) and Re. The inverse step returns the corrections that lead through all y*.

    Re is 160,000 to 5,120,000 in training and 240,000 to 3,840,000 in tests. The defaults have half
    of the source's resolution.

    Source: K. Um, R. Brand, Y. Fei, P. Holl, N. Thuerey, arXiv 2007.00016 (NeurIPS 2020), wake
    flow. Its simulations differ in Re alone; ours also in a first disturbance.
    """

    cells: Annotated[int, Bounds(8)] = 16
    """m, cells across the coarse grid, which has 2 m along the flow; 32 in the source."""

    frames: PositiveInt = 200
    """Steps of a simulation that are used; 500 in the source. The wake oscillates with a period of
    about 230."""

    warmup: NonNegativeInt = 999
    """Steps of a simulation before the first state that is used. The oscillation grows slowly, and
    after 800 steps it still does."""

    simulations: PositiveInt = 6
    """Simulations from which the training segments are taken."""

    target: ClassVar = ("velocity_mae", 0.02)
    tiny: ClassVar = {
        "cells": 8, "refinement": 2, "look_ahead": 2, "frames": 3, "warmup": 2, "simulations": 2,
        "features": 4, "blocks": 1,
    }  # fmt: skip
    defaults: ClassVar = {
        "batch_size": 3, "train_size": 480, "heldout_size": 5, "steps": 600, "log_every": 50,
    }  # fmt: skip

    def solver(self) -> CoarseSolver:
        """Return the solver on the coarse grid; its network sees velocity and Re."""
        return CoarseSolver(_advance, _features, 3, TIME_STEP, 0.1 * VELOCITY, "SAME")

    def training_run(self, key: jax.Array, number: jax.Array) -> Reference:
        """Simulate with one Re of TRAINING after the other."""
        return self._run(key, jnp.asarray(TRAINING)[number % len(TRAINING)])

    def heldout_run(self, key: jax.Array) -> Reference:
        """Simulate with a random one of TEST."""
        of_flow, of_re = jax.random.split(key)
        return self._run(of_flow, jax.random.choice(of_re, jnp.asarray(TEST)))

    def _run(self, key: jax.Array, re: jax.Array) -> Reference:
        sizes = self.cells, self.refinement, self.warmup, self.frames
        return wake_flow.reference(key, re, *sizes)


def _advance(state: jax.Array, flow: Flow, time: jax.Array) -> jax.Array:
    return advance(state, flow["re"])[0]


def _features(state: jax.Array, flow: Flow, time: jax.Array) -> jax.Array:
    re = jnp.broadcast_to(flow["re"] / float(TRAINING.std()), state.shape[:-1])
    return jnp.concatenate([state / VELOCITY, re[..., None].astype(state.dtype)], axis=-1)
