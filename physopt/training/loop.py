"""The run loop and its clock.

One compiled program makes any number of updates: a loop whose length is an argument, so that one
compilation serves pieces of every length. The host calls it for pieces of about half a second,
which keeps Ctrl-C, time limits and the live line responsive at negligible cost, and stops the clock
with `block_until_ready`. t_train covers only these calls; compilation and evaluation have separate
clocks, and writing is not timed.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from physopt.machine.mesh import everywhere, replicated, spread
from physopt.objective import Objective
from physopt.problem import Batch, Measurements
from physopt.rule import Info, Parameters, UpdateRule
from physopt.training.data import Source, initial_key, initially_kept, next_batch, rule_key
from physopt.training.measuring import measurements

PIECE_SECONDS = 0.5

EVALUATIONS = 25
"""Number of evaluations of a run without `log_every`."""


class Carry(NamedTuple):
    """State passed from one update to the next."""

    params: Parameters
    state: Any  # the rule's
    step: jax.Array  # int32, updates made
    sums: Info  # of every entry of info, since the last evaluation
    converged: jax.Array  # bool: no update is left to make
    kept: Any = ()  # the training set of a source that adapts it


class Budget(NamedTuple):
    """Limits of training; at least one is not None."""

    steps: int | None
    seconds: float | None

    def spent(self, clock: "Clock") -> str | None:
        """Name the limit that is reached, "steps" or "seconds", or None."""
        if self.steps is not None and clock.step >= self.steps:
            return "steps"
        if self.seconds is not None and clock.t_train >= self.seconds:
            return "seconds"
        return None

    def pace(self, clock: "Clock") -> tuple[float, float]:
        """Return (per step, floor) with progress = max(per step * step, floor).

        The part due to steps is computed from the step inside the program, so that it does not
        depend on the division of a run into pieces.
        """
        per_step = 1.0 / self.steps if self.steps else 0.0
        return per_step, min(1.0, clock.t_train / self.seconds) if self.seconds else 0.0


@dataclasses.dataclass(frozen=True)
class Clock:
    """Progress of a run: updates made, and the seconds they took.

    compile_cached: t_compile is the time of reading the program from the cache.
    """

    step: int = 0
    t_train: float = 0.0
    t_compile: float = 0.0
    t_eval: float = 0.0
    compile_cached: bool = False


class Piece(NamedTuple):
    """The state of training after a call of the compiled program.

    The carry is donated to the next call: copy whatever must outlive the next piece.
    """

    carry: Carry
    clock: Clock
    report: dict[str, float] | None  # over the updates since the last report; None if none is due


def make_updates(
    rule: UpdateRule,
    objective: Objective,
    carry: Carry,
    source: Source,
    key: jax.Array,
    pace: tuple[jax.Array, jax.Array],
    length: jax.Array,
) -> Carry:
    """Make `length` updates, fewer if the rule converges."""
    per_step, floor = pace
    end = carry.step + length

    def body(carry: Carry) -> Carry:
        progress = jnp.clip(jnp.maximum(carry.step * per_step, floor), 0.0, 1.0)
        step = carry.step
        batch, kept = next_batch(source, carry.kept, objective, carry.params, step)
        updates, state, info = rule.update(
            objective, carry.params, carry.state, batch.at(progress), rule_key(key, step)
        )
        info = _complete(info, updates)
        sums = jax.tree.map(lambda total, value: total + value, carry.sums, info)
        params = optax.apply_updates(carry.params, updates)
        return Carry(params, state, step + 1, sums, rule.converged(state), kept)

    return jax.lax.while_loop(lambda carry: (carry.step < end) & ~carry.converged, body, carry)


def _complete(info: Info, updates: Parameters) -> Info:
    """Add the entries that every update reports: its norm, and a count to turn sums into means."""
    return {**info, "update_norm": optax.tree.norm(updates), "updates": jnp.int32(1)}


def initial_carry(
    rule: UpdateRule, objective: Objective, params: Parameters, source: Source, key: jax.Array
) -> Carry:
    """Return the carry before the first update."""
    state = jax.jit(rule.init)(objective, params, initial_key(key))
    step = jnp.int32(0)

    def info(params: Parameters, state: Any, key: jax.Array) -> Info:
        updates, _, info = rule.update(objective, params, state, source.draw(step).at(0.0), key)
        return _complete(info, updates)

    shapes = jax.eval_shape(info, params, state, key)
    # Integers count samples; floats are summed in their own precision.
    sums = {name: jnp.zeros((), shape.dtype) for name, shape in shapes.items()}
    # The program donates its arguments, and a buffer can be donated only once: an optimiser's state
    # may contain a buffer twice (L-BFGS does), hence the copies.
    carry = Carry(params, state, step, sums, jnp.asarray(False), initially_kept(source))
    return replicated(jax.tree.map(jnp.copy, carry), objective.mesh)


class Program(NamedTuple):
    """The compiled training program of a run, with its constant arguments bound."""

    call: Callable[[Carry, tuple[float, float], int], Carry]
    t_compile: float
    compiled: jax.stages.Compiled


def compile_program(
    rule: UpdateRule, objective: Objective, carry: Carry, source: Source, key: jax.Array
) -> Program:
    """Trace and compile the updates ahead of time.

    Shapes in place of arrays suffice for compilation; such a program cannot be called by `call`.
    """
    start = time.perf_counter()
    mesh = objective.mesh
    # A carry returned with a different sharding would not match the next call.
    shardings = None if mesh is None else everywhere(mesh)
    objective, source, key = replicated((objective, source, key), mesh)
    jitted = jax.jit(partial(make_updates, rule), donate_argnames="carry", out_shardings=shardings)
    pace = (jnp.float32(0), jnp.float32(0))
    compiled = jitted.lower(objective, carry, source, key, pace, jnp.int32(0)).compile()
    seconds = time.perf_counter() - start

    def call(carry: Carry, pace: tuple[float, float], length: int) -> Carry:
        # NumPy scalars are passed directly; JAX scalars would cost one dispatch each.
        per_step, floor = map(np.float32, pace)
        return compiled(objective, carry, source, key, (per_step, floor), np.int32(length))

    return Program(call, seconds, compiled)


def updates_on_copy(
    program: Program, carry: Carry, pace: tuple[float, float]
) -> Callable[[int], None]:
    """Return a function that makes updates on a copy of the carry, off the clock of training."""
    copy = jax.tree.map(jnp.copy, carry)

    def updates(length: int) -> None:
        nonlocal copy
        copy = jax.block_until_ready(program.call(copy, pace, length))

    return updates


def train(
    program: Program,
    carry: Carry,
    clock: Clock,
    budget: Budget,
    log_every: int | None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Piece]:
    """Train until the budget is spent or `stop()` is true; yield after every piece.

    A piece has a report at multiples of `log_every` and at the end of the budget: the means of the
    entries of info, the sums of its counts. Without `log_every` there is a report after each 25th
    of the budget, of its seconds if it has any. The consumer's work between pieces is not timed.
    Training ends, with a report, when the rule has converged.
    """
    length = 1
    converged = bool(carry.converged)
    while not (stop() or converged or budget.spent(clock)):
        end, mark = _next_report(budget, clock, log_every)
        length = int(min(length, end - clock.step))
        start = time.perf_counter()
        carry = jax.block_until_ready(program.call(carry, budget.pace(clock), length))
        seconds = time.perf_counter() - start
        clock = dataclasses.replace(clock, step=int(carry.step), t_train=clock.t_train + seconds)
        converged = bool(carry.converged)
        report = None
        if converged or clock.step == end or clock.t_train >= mark or budget.spent(clock):
            report = _report(carry.sums)
            carry = carry._replace(sums=jax.tree.map(jnp.zeros_like, carry.sums))
        yield Piece(carry, clock, report)
        duration = min(PIECE_SECONDS, _next_report(budget, clock, log_every)[1] - clock.t_train)
        length = max(1, min(8 * length, int(duration * length / max(seconds, 1e-9))))


def _next_report(budget: Budget, clock: Clock, log_every: int | None) -> tuple[float, float]:
    """Return the step and the training seconds of the next report, infinite if none is due.

    The report is due at whichever is reached first.
    """
    if log_every is None and budget.seconds is not None:
        interval = budget.seconds / EVALUATIONS
        mark = (int(clock.t_train / interval) + 1) * interval
        return budget.steps or math.inf, mark
    every = log_every or max(1, (budget.steps or EVALUATIONS) // EVALUATIONS)
    end = (clock.step // every + 1) * every
    return min(end, budget.steps or end), math.inf


def _report(sums: Info) -> dict[str, float]:
    """Turn sums into means; counts, which are integers, stay sums."""
    values = {name: value.item() for name, value in jax.device_get(sums).items()}
    updates = max(1, values.pop("updates"))
    return {k: v if isinstance(v, int) else v / updates for k, v in values.items()}


def measured(objective: Objective, params: Parameters, source: Source) -> Objective:
    """Return the objective for evaluation: batch statistics are those of the first batch."""
    if not objective.has_batch_statistics():
        return objective
    return objective.refresh(params, source.draw(jnp.int32(0)).at(1.0))


@partial(jax.jit, static_argnames="chunk")
def evaluate(
    objective: Objective, params: Parameters, held_out: Batch, source: Source, chunk: int
) -> Measurements:
    """Return what is measured of each held-out sample; every array is [samples].

    The network receives all samples at once, the physics `chunk` at a time, so that evaluation
    needs about as much memory as a training step.
    """
    objective = measured(objective, params, source)
    x = objective.predict(params, held_out.inputs, train=False)
    size = len(held_out)
    pieces = jax.tree.map(lambda a: a.reshape(size // chunk, chunk, *a.shape[1:]), (x, held_out))
    values = jax.lax.map(
        lambda piece: spread(partial(measurements, objective.problem), objective.mesh, *piece),
        pieces,
    )
    return jax.tree.map(lambda a: a.reshape(size), values)


def evaluation_chunk(size: int, batch_size: int, device_count: int = 1) -> int:
    """Return the largest divisor of `size` that is at most max(batch_size, 64).

    A divisor that is a multiple of the number of devices takes precedence.
    """
    divisors = (k for k in range(1, min(size, max(batch_size, 64)) + 1) if size % k == 0)
    return max(divisors, key=lambda k: (k % device_count == 0, k))
