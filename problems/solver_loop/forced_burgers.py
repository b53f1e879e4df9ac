"""The problem `forced_burgers`: correct a coarse solver in the loop to follow a fine one."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from physopt.options import Bounds, NonNegativeFloat, NonNegativeInt, OptionError, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fields import LARGE_OUTPUT
from physopt.problems.solver_loop.correction import CorrectedSolver, Segment
from physopt.problems.solver_loop.forcing import (
    TIME_STEP,
    Reference,
    Waves,
    advance,
    force,
    precorrected,
    reference,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class ForcedBurgers(Problem):
    """Correct a coarse solver of the forced Burgers equation after every step.

    The coarse solver P advances velocities [m, m, 2] under random waves of force, and corrections
    x [batch, n, m, m, 2] are added after each of n steps: s_i = P(s_{i-1}, f_i) + x_i. The states
    y [batch, n, m, m, 2] should be those of a finer simulation averaged to the coarse grid, y*:
    loss 1/(2 n) sum (y - y*)^2. velocity_mae is the mean of |y - y*| over components, cells and
    steps, and improvement = 1 - sum velocity_mae / sum velocity_mae without corrections, over a
    set. The network is part of the loop: it computes x_i from P(s_{i-1}, f_i).

    Training segments have n = look_ahead steps and start at a random time of one of a few
    simulations; validation and test are whole simulations of n = frames steps. In the source's
    words: look_ahead=4 is SOL_4; look_ahead=1 is NON, which never sees its own corrections;
    look_ahead=1 states=precomputed is PRE.

    The inverse step returns the corrections for which all states are the wanted ones, whatever x
    is: with sip the network learns these, from the states that it reaches.

    Source: K. Um, R. Brand, Y. Fei, P. Holl, N. Thuerey, arXiv 2007.00016 (NeurIPS 2020), forced
    advection-diffusion; its velocities are on faces, ours in cell centres.
    """

    cells: Annotated[int, Bounds(4)] = 32
    """m, cells along each side of the coarse grid."""

    refinement: PositiveInt = 4
    """Cells of the reference per coarse cell, along each side."""

    look_ahead: PositiveInt = 4
    """Steps of a training segment."""

    frames: PositiveInt = 50
    """Steps of a simulation that are used; 200 in the source."""

    warmup: NonNegativeInt = 30
    """Steps of a simulation before the first state that is used."""

    simulations: PositiveInt = 10
    """Simulations from which the training segments are taken."""

    states: Literal["reference", "precomputed"] = "reference"
    """States of training segments: of the reference, or of a coarse simulation whose corrections
    were computed beforehand."""

    memory: NonNegativeFloat = 1.25
    """states=precomputed: weight of the change of a correction in time."""

    features: PositiveInt = 16
    """Channels of the network; 32 in the source."""

    blocks: PositiveInt = 2
    """Residual blocks of the network; 5 in the source."""

    target: ClassVar = ("velocity_mae", 0.05)
    tiny: ClassVar = {
        "cells": 6, "refinement": 2, "look_ahead": 2, "frames": 3, "warmup": 2, "simulations": 2,
        "features": 4, "blocks": 1,
    }  # fmt: skip
    drawn: ClassVar = 3
    rule_defaults: ClassVar = LARGE_OUTPUT
    defaults: ClassVar = {
        "batch_size": 5, "train_size": 480, "heldout_size": 8, "steps": 600, "log_every": 50,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.look_ahead > self.frames:
            reason = f"must be at most frames = {self.frames}"
            raise OptionError(type(self), "look_ahead", self.look_ahead, reason)

    def sample(self, keys: jax.Array) -> Batch:
        """Draw one segment of a simulation of its own for each key."""

        def draw(key: jax.Array) -> Batch:
            of_run, of_time = jax.random.split(key)
            run, first = self._training_run(of_run), self._first(of_time)
            states = lax.dynamic_slice_in_dim(run.states, first, self.look_ahead + 1)
            return segment(states, run.waves, run.start + TIME_STEP * first)

        return jax.vmap(draw)(keys)

    def arrange(self, positions: jax.Array, size: int, key: jax.Array) -> Batch:
        """Draw segments of at most `simulations` simulations, at random times."""
        of_runs, of_times = jax.random.split(key)
        count = min(self.simulations, size)
        runs = jax.vmap(self._training_run)(jax.random.split(of_runs, count))
        shape = (1, self.look_ahead + 1, *runs.states.shape[2:])

        def draw(position: jax.Array) -> Batch:
            first = self._first(jax.random.fold_in(of_times, position))
            which = position % count
            # One slice: indexing a simulation first would copy it for every segment.
            states = lax.dynamic_slice(runs.states, (which, first, 0, 0, 0), shape)[0]
            waves = jax.tree.map(lambda leaf: leaf[which], runs.waves)
            return segment(states, waves, runs.start[which] + TIME_STEP * first)

        return jax.vmap(draw)(positions)

    def held_out(self, keys: jax.Array) -> Batch:
        """Draw whole simulations, whatever the training segments are."""

        def draw(key: jax.Array) -> Batch:
            run = self._reference(key)
            return segment(run.states, run.waves, run.start)

        return jax.vmap(draw)(keys)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the corrected solver, start and force -> corrections [batch, n, m, m, 2]."""
        return CorrectedSolver(self.features, self.blocks, rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return no corrections."""
        return jnp.zeros_like(batch.target)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the states after each corrected step, [batch, n, m, m, 2]."""
        return jax.vmap(corrected)(x, batch.inputs)

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return 1/(2 n) sum (y - y*)^2, [batch]."""
        return super().loss(y, batch) / y.shape[1]

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the corrections that lead through all wanted states, [batch, n, m, m, 2]."""
        return jax.vmap(closing)(batch.target, batch.inputs)

    def metrics(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the mean absolute error of the velocity."""
        return {"velocity_mae": _mean_error(y, batch.target)}

    def set_terms(self, x: jax.Array, y: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the errors with and without corrections."""
        plain = self.simulate(jnp.zeros_like(x), batch)
        return {
            "corrected": _mean_error(y, batch.target),
            "uncorrected": _mean_error(plain, batch.target),
        }

    def set_metrics(self, terms: dict[str, np.ndarray]) -> dict[str, float]:
        """Return the improvement over no correction."""
        return {"improvement": float(1 - terms["corrected"].sum() / terms["uncorrected"].sum())}

    def baselines(self, held_out: Batch) -> dict[str, dict[str, float]]:
        """Return the error without corrections."""
        plain = jax.jit(self.simulate)(self.initial_unknowns(held_out), held_out)
        return {"uncorrected": {"velocity_mae": float(_mean_error(plain, held_out.target).mean())}}

    def figure(self, x: jax.Array, y: jax.Array, batch: Batch) -> "Figure":
        """Draw the speed in one simulation, and the errors of some against time."""
        from physopt.problems.solver_loop.picture import draw_rollouts

        states = self._ways(x, batch)
        speeds = {name: np.linalg.norm(v[0], axis=-1) for name, v in states.items()}
        wanted = states.pop("reference")
        errors = {name: np.mean(np.abs(v - wanted), axis=(2, 3, 4)) for name, v in states.items()}
        times = np.asarray(batch.inputs["times"][0]) + TIME_STEP
        return draw_rollouts(speeds, errors, list(times))

    def film(self, x: jax.Array, batch: Batch) -> Mapping[str, jax.Array]:
        """Return the speeds, {name: [batch, n, m, m]}, over the largest one of the reference."""
        speeds = {k: jnp.linalg.norm(v, axis=-1) for k, v in self._ways(x, batch).items()}
        largest = jnp.max(speeds["reference"])
        return {name: speed / largest for name, speed in speeds.items()}

    def _ways(self, x: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the states of the reference, and without and with corrections."""
        x, run = jnp.asarray(x), jax.jit(self.simulate)
        return {
            "reference": jnp.asarray(batch.target),
            "uncorrected": run(jnp.zeros_like(x), batch),
            "corrected": run(x, batch),
        }

    def _reference(self, key: jax.Array) -> Reference:
        return reference(key, self.cells, self.refinement, self.warmup, self.frames)

    def _training_run(self, key: jax.Array) -> Reference:
        """Draw a simulation with the states that training segments have."""
        run = self._reference(key)
        return precorrected(run, self.memory) if self.states == "precomputed" else run

    def _first(self, key: jax.Array) -> jax.Array:
        """Draw the first state of a segment."""
        return jax.random.randint(key, (), 0, self.frames - self.look_ahead + 1)


def segment(states: jax.Array, waves: Waves, time: jax.Array) -> Batch:
    """Return the sample of consecutive states [n + 1, m, m, 2], the first at a time []."""
    times = time + TIME_STEP * jnp.arange(len(states) - 1, dtype=states.dtype)
    inputs: Segment = {"state": states[0], "waves": waves, "times": times}
    return Batch(inputs=inputs, target=states[1:])


def corrected(corrections: jax.Array, start: Segment) -> jax.Array:
    """Return the states of one sample after each corrected step, [n, m, m, 2]."""

    def step(state: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        correction, time = at
        state = _advanced(state, start["waves"], time) + correction
        return state, state

    return lax.scan(step, start["state"], (corrections, start["times"]))[1]


def closing(wanted: jax.Array, start: Segment) -> jax.Array:
    """Return the corrections of one sample that lead through all wanted states, [n, m, m, 2]."""
    before = jnp.concatenate([start["state"][None], wanted[:-1]])
    steps = jax.vmap(_advanced, in_axes=(0, None, 0))(before, start["waves"], start["times"])
    return wanted - steps


def _advanced(state: jax.Array, waves: Waves, time: jax.Array) -> jax.Array:
    return advance(state, force(waves, time, len(state)))


def _mean_error(y: jax.Array, wanted: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(y - wanted), axis=(1, 2, 3, 4))
