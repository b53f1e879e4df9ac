"""Base of problems in which a network corrects a coarse solver after every step."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from physopt.options import NonNegativeFloat, NonNegativeInt, OptionError, PositiveInt
from physopt.problem import Batch, Problem
from physopt.problems.fields import LARGE_OUTPUT
from physopt.problems.solver_loop.coarse import (
    CoarseSolver,
    Context,
    Reference,
    Segment,
    precorrected,
)
from physopt.problems.solver_loop.correction import CorrectedSolver

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILM_FRAMES = 50
"""Largest number of times in a film."""


@dataclasses.dataclass(frozen=True)
class CorrectedSimulation(Problem):
    """Correct a coarse solver after every step, so that it follows a finer one.

    The coarse solver P advances velocities [*grid, 2], and corrections x [batch, n, *grid, 2] are
    added after each of n steps: s_i = P(s_{i-1}) + x_i. The states y [batch, n, *grid, 2] should be
    those of a finer simulation restricted to the coarse grid, y*: loss 1/(2 n) sum (y - y*)^2.
    velocity_mae is the mean of |y - y*| over components, cells and steps, and improvement =
    1 - sum velocity_mae / sum velocity_mae without corrections, over a set. The network is part of
    the loop: it computes x_i from P(s_{i-1}).

    Training segments have n = look_ahead steps and start at a random time of one of a few
    simulations; validation and test are whole simulations of n = frames steps.

    The inverse step returns the corrections for which all states are the reference's, whatever x
    is: with sip the network learns these, from the states that it reaches.

    A subclass provides the solvers: `solver`, `training_run` and `heldout_run`.

    Source: K. Um, R. Brand, Y. Fei, P. Holl, N. Thuerey, arXiv 2007.00016 (NeurIPS 2020).
    """

    refinement: PositiveInt = 4
    """Cells of the reference per coarse cell, along each side."""

    look_ahead: PositiveInt = 4
    """Steps of a training segment. 4 is SOL_4 of the source, 1 is NON: the network never sees its
    own corrections."""

    frames: PositiveInt = 50
    """Steps of a simulation that are used."""

    warmup: NonNegativeInt = 30
    """Steps of a simulation before the first state that is used."""

    simulations: PositiveInt = 10
    """Simulations from which the training segments are taken."""

    states: Literal["reference", "precomputed"] = "reference"
    """States of training segments: of the reference, or of a coarse simulation whose corrections
    were computed beforehand; with look_ahead=1 the latter is PRE of the source."""

    memory: NonNegativeFloat = 1.25
    """states=precomputed: weight of the change of a correction in time."""

    features: PositiveInt = 16
    """Channels of the network; 32 in the source."""

    blocks: PositiveInt = 2
    """Residual blocks of the network; 5 in the source."""

    target: ClassVar = ("velocity_mae", 0.05)
    drawn: ClassVar = 3
    rule_defaults: ClassVar = LARGE_OUTPUT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.look_ahead > self.frames:
            reason = f"must be at most frames = {self.frames}"
            raise OptionError(type(self), "look_ahead", self.look_ahead, reason)

    @abstractmethod
    def solver(self) -> CoarseSolver:
        """Return the coarse solver."""

    @abstractmethod
    def training_run(self, key: jax.Array, number: jax.Array) -> Reference:
        """Simulate for training; `number` [] int32 counts the simulations of a set."""

    @abstractmethod
    def heldout_run(self, key: jax.Array) -> Reference:
        """Simulate for validation and test."""

    def sample(self, keys: jax.Array) -> Batch:
        """Draw one segment of a simulation of its own for each key."""

        def draw(key: jax.Array) -> Batch:
            of_run, of_time, of_number = jax.random.split(key, 3)
            number = jax.random.randint(of_number, (), 0, self.simulations)
            run, first = self._seen_run(of_run, number), self._first(of_time)
            states = lax.dynamic_slice_in_dim(run.states, first, self.look_ahead + 1)
            return self._segment(states, run.context, run.start, first)

        return jax.vmap(draw)(keys)

    def arrange(self, positions: jax.Array, size: int, key: jax.Array) -> Batch:
        """Draw segments of at most `simulations` simulations, at random times."""
        of_runs, of_times = jax.random.split(key)
        count = min(self.simulations, size)
        runs = jax.vmap(self._seen_run)(jax.random.split(of_runs, count), jnp.arange(count))
        grid = runs.states.shape[2:]

        def draw(position: jax.Array) -> Batch:
            first = self._first(jax.random.fold_in(of_times, position))
            which = position % count
            # One slice: indexing a simulation first would copy it for every segment.
            start, shape = (which, first, *(0 for _ in grid)), (1, self.look_ahead + 1, *grid)
            states = lax.dynamic_slice(runs.states, start, shape)[0]
            context = jax.tree.map(lambda leaf: leaf[which], runs.context)
            return self._segment(states, context, runs.start[which], first)

        return jax.vmap(draw)(positions)

    def held_out(self, keys: jax.Array) -> Batch:
        """Draw whole simulations, whatever the training segments are."""

        def draw(key: jax.Array) -> Batch:
            run = self.heldout_run(key)
            return self._segment(run.states, run.context, run.start, jnp.zeros((), int))

        return jax.vmap(draw)(keys)

    def network(self, rngs: nnx.Rngs) -> nnx.Module:
        """Make the corrected solver, start and context -> corrections [batch, n, *grid, 2]."""
        return CorrectedSolver(self.solver(), self.features, self.blocks, rngs)

    def initial_unknowns(self, batch: Batch) -> jax.Array:
        """Return no corrections."""
        return jnp.zeros_like(batch.target)

    def simulate(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the states after each corrected step, [batch, n, *grid, 2]."""
        advance = self.solver().advance

        def corrected(corrections: jax.Array, start: Segment) -> jax.Array:
            def step(state: jax.Array, at: tuple[jax.Array, jax.Array]):
                correction, time = at
                state = advance(state, start["context"], time) + correction
                return state, state

            return lax.scan(step, start["state"], (corrections, start["times"]))[1]

        return jax.vmap(corrected)(x, batch.inputs)

    def loss(self, y: jax.Array, batch: Batch) -> jax.Array:
        """Return 1/(2 n) sum (y - y*)^2, [batch]."""
        return super().loss(y, batch) / y.shape[1]

    def invert(self, x: jax.Array, batch: Batch) -> jax.Array:
        """Return the corrections that lead through all wanted states, [batch, n, *grid, 2]."""
        advance = jax.vmap(self.solver().advance, in_axes=(0, None, 0))

        def closing(wanted: jax.Array, start: Segment) -> jax.Array:
            before = jnp.concatenate([start["state"][None], wanted[:-1]])
            return wanted - advance(before, start["context"], start["times"])

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
        times = np.asarray(batch.inputs["times"][0]) + self.solver().time_step
        return draw_rollouts(speeds, errors, list(times))

    def film(self, x: jax.Array, batch: Batch) -> Mapping[str, jax.Array]:
        """Return the speeds, {name: [batch, times, *grid]}, over the largest of the reference."""
        speeds = {k: jnp.linalg.norm(v, axis=-1) for k, v in self._ways(x, batch).items()}
        largest, stride = jnp.max(speeds["reference"]), -(-x.shape[1] // FILM_FRAMES)
        return {name: speed[:, ::stride] / largest for name, speed in speeds.items()}

    def _ways(self, x: jax.Array, batch: Batch) -> dict[str, jax.Array]:
        """Return the states of the reference, and without and with corrections."""
        x, run = jnp.asarray(x), jax.jit(self.simulate)
        return {
            "reference": jnp.asarray(batch.target),
            "uncorrected": run(jnp.zeros_like(x), batch),
            "corrected": run(x, batch),
        }

    def _seen_run(self, key: jax.Array, number: jax.Array) -> Reference:
        """Simulate for training, with the states that training segments have."""
        run = self.training_run(key, number)
        if self.states == "precomputed":
            return precorrected(run, self.solver(), self.memory)
        return run

    def _first(self, key: jax.Array) -> jax.Array:
        """Draw the first state of a segment."""
        return jax.random.randint(key, (), 0, self.frames - self.look_ahead + 1)

    def _segment(
        self, states: jax.Array, context: Context, start: jax.Array, first: jax.Array
    ) -> Batch:
        """Return the sample of consecutive states [n + 1, *grid, 2] from the step `first` on."""
        steps = first + jnp.arange(len(states) - 1)
        times = start + self.solver().time_step * steps.astype(states.dtype)
        inputs: Segment = {"state": states[0], "context": context, "times": times}
        return Batch(inputs=inputs, target=states[1:])


def _mean_error(y: jax.Array, wanted: jax.Array) -> jax.Array:
    return jnp.mean(jnp.abs(y - wanted), axis=(1, 2, 3, 4))
