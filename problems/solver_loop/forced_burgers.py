"""The problem `forced_burgers`: correct a coarse solver in the loop to follow a fine one."""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from physopt.options import Bounds, PositiveInt
from physopt.problems.solver_loop.coarse import CoarseSolver, Reference
from physopt.problems.solver_loop.forcing import TIME_STEP, Waves, advance, force, reference
from physopt.problems.solver_loop.loop import CorrectedSimulation

VELOCITY, FORCE = 0.6, 0.27
"""Typical values, by which the network's inputs are divided."""


@dataclasses.dataclass(frozen=True)
class ForcedBurgers(CorrectedSimulation):
    """Correct a coarse solver of the forced Burgers equation after every step.

    Velocities [m, m, 2] in a periodic square are driven by random waves of force f. Corrections x
    [batch, n, m, m, 2] are added after each of n steps of the coarse solver P:
    s_i = P(s_{i-1}, f_i) + x_i. The states y [batch, n, m, m, 2] should be those of a finer
    simulation averaged to the coarse grid, y*: loss 1/(2 n) sum (y - y*)^2. velocity_mae is the
    mean of |y - y*|, improvement = 1 - sum velocity_mae / sum velocity_mae without corrections. The
    network is part of the loop: it computes x_i from P(s_{i-1}, f_i). The inverse step returns the
    corrections that lead through all y*.

    Source: K. Um, R. Brand, Y. Fei, P. Holl, N. Thuerey, arXiv 2007.00016 (NeurIPS 2020), forced
    advection-diffusion; its velocities are on faces, ours in cell centres.
    """

    cells: Annotated[int, Bounds(4)] = 32
    """m, cells along each side of the coarse grid."""

    frames: PositiveInt = 50
    """Steps of a simulation that are used; 200 in the source."""

    tiny: ClassVar = {
        "cells": 6, "refinement": 2, "look_ahead": 2, "frames": 3, "warmup": 2, "simulations": 2,
        "features": 4, "blocks": 1,
    }  # fmt: skip
    defaults: ClassVar = {
        "batch_size": 5, "train_size": 480, "heldout_size": 8, "steps": 600, "log_every": 50,
    }  # fmt: skip

    def solver(self) -> CoarseSolver:
        """Return the solver on the coarse grid; its network sees velocity and force."""
        return CoarseSolver(_advance, _features, 4, TIME_STEP, TIME_STEP * VELOCITY, "CIRCULAR")

    def training_run(self, key: jax.Array, number: jax.Array) -> Reference:
        """Simulate with waves of its own."""
        return self.heldout_run(key)

    def heldout_run(self, key: jax.Array) -> Reference:
        """Simulate with waves of its own."""
        return reference(key, self.cells, self.refinement, self.warmup, self.frames)


def _advance(state: jax.Array, waves: Waves, time: jax.Array) -> jax.Array:
    return advance(state, force(waves, time, len(state)))


def _features(state: jax.Array, waves: Waves, time: jax.Array) -> jax.Array:
    pushed = force(waves, time, len(state))
    return jnp.concatenate([state / VELOCITY, pushed / FORCE], axis=-1)
