"""Timing of compiled functions and of training updates."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from physopt.config import from_words
from physopt.machine import devices
from physopt.machine.threads import blas_limited
from physopt.numerics.keys import key_of
from physopt.objective import build
from physopt.training.data import training_source
from physopt.training.loop import compile_program, initial_carry

SAMPLE_SECONDS = 0.02
"""Duration of a timed sample, which makes several calls of a short function."""


class Timing(NamedTuple):
    """Seconds of a call: the median, the least and the greatest sample."""

    median: float
    low: float
    high: float
    repeats: int
    compile_seconds: float

    def fields(self, scale: float = 1e3) -> dict[str, Any]:
        """Return the fields of a row in milliseconds, or in seconds with scale 1."""
        return {
            "value": scale * self.median,
            "low": scale * self.low,
            "high": scale * self.high,
            "repeats": self.repeats,
            "compile_seconds": self.compile_seconds,
        }

    def rates(self, amount: int) -> dict[str, Any]:
        """Return the fields of a row whose call processes `amount` items, in items a second."""
        rates = {"value": self.median, "low": self.high, "high": self.low}
        return self.fields() | {name: amount / seconds for name, seconds in rates.items()}


def timed(function: Callable, inputs: Sequence[tuple], seconds: float = 1.0) -> Timing:
    """Compile a function and time its calls; successive calls take the inputs in turn."""
    inputs = jax.block_until_ready(jax.device_put(list(inputs)))
    start = time.perf_counter()
    program = jax.jit(function).lower(*inputs[0]).compile()
    compile_seconds = time.perf_counter() - start

    def calls(first: int, count: int) -> float:
        turns = [inputs[k % len(inputs)] for k in range(first, first + count)]
        start = time.perf_counter()
        jax.block_until_ready([program(*arguments) for arguments in turns])
        return time.perf_counter() - start

    calls(0, 1)  # the first call of a program takes longer
    count = max(1, min(50, int(SAMPLE_SECONDS / calls(1, 1))))
    durations: list[float] = []
    while len(durations) < 3 or (sum(durations) < seconds and len(durations) < 30):
        durations.append(calls(count * len(durations), count))
    per_call = np.array(durations) / count
    return Timing(
        float(np.median(per_call)), per_call.min(), per_call.max(), len(durations), compile_seconds
    )


def timed_updates(words: Sequence[str], piece: float = 0.3, pieces: int = 5) -> Timing:
    """Time the updates of a run, given as on the command line, by its own compiled loop.

    Every update draws a new batch. The pieces are spread over the progress of training from 0 to 1,
    which schedules and the sharpening of designs follow; the parameters are those of a new run.
    """
    config = from_words([*words])
    settings, problem, rule = config.settings, config.problem, config.rule
    device = devices.select(settings.device)[0]
    with devices.computing(device, settings.dtype), blas_limited(settings.threads):
        objective, params = build(problem, settings.network, settings.seed)
        objective, params = devices.cast((objective, params), settings.dtype)
        key = key_of(settings.seed)
        source = training_source(problem, settings.seed, settings.batch_size, settings.train_size)
        carry = initial_carry(rule, objective, params, source, key)
        program = compile_program(rule, objective, carry, source, key)

        def updates(length: int, progress: float) -> float:
            nonlocal carry
            start = time.perf_counter()
            carry = jax.block_until_ready(program.call(carry, (0.0, progress), length))
            return (time.perf_counter() - start) / length

        updates(1, 0.0)
        length = max(1, int(piece / max(updates(1, 0.0), updates(1, 1.0))))
        durations = [updates(length, k / (pieces - 1)) for k in range(pieces)]
    median = statistics.median(durations)
    return Timing(median, min(durations), max(durations), pieces, program.t_compile)
