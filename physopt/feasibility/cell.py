"""Cell: one training program, compiled from shapes alone or run once.

The module is the program of a subprocess, which may run out of memory without harm to the map:

    python -m physopt.feasibility.cell

reads requests from standard input, one JSON object a line, and answers with lines of JSON:
{"request": "device" | "compile" | "run", "record": the content of a run's config.json}.
"""

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp

from physopt.config import RunConfig
from physopt.config.run_config import from_record
from physopt.machine import devices
from physopt.machine.devices import memory_limit
from physopt.machine.parent import begin_run
from physopt.machine.resident import give_back, resident_bytes, resident_peak
from physopt.options import OptionError
from physopt.rule import UpdateRule
from physopt.training.loop import compile_program
from physopt.training.setup import Refused, plan, prepare

Answer = dict[str, Any]


class Inputs(NamedTuple):
    """The rule of a config, and the arguments of its training program: how to make them, shapes."""

    rule: UpdateRule
    make: Callable[[], tuple[Any, ...]]
    shapes: tuple[Any, ...]


def compiled_cell(config: RunConfig) -> tuple[jax.stages.Compiled, Inputs]:
    """Compile the training program of a config from shapes, without allocating its arrays.

    Call inside `devices.computing`. Raises Refused if the rule refuses the problem.
    """
    inputs = _inputs(config)
    objective, carry, source, key = inputs.shapes
    return compile_program(inputs.rule, objective, carry, source, key).compiled, inputs


def predicted_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Return the device memory in bytes that a program needs, None if the compiler reports none.

    Arguments + results + temporaries - results that alias arguments.
    """
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    return (
        analysis.argument_size_in_bytes
        + analysis.output_size_in_bytes
        + analysis.temp_size_in_bytes
        - analysis.alias_size_in_bytes
    )


def _inputs(config: RunConfig) -> Inputs:
    rules: list[UpdateRule] = []

    def make() -> tuple[Any, ...]:
        setup = prepare(config)
        rules.append(setup.rule)
        plan(setup)
        carry = setup.initial_carry()
        return setup.objective, carry, setup.source, setup.key

    shapes = jax.eval_shape(make)
    return Inputs(rules[0], make, shapes)


@contextlib.contextmanager
def _computing(config: RunConfig) -> Iterator[devices.Device]:
    (device,) = devices.select(config.settings.device)
    with devices.computing(device, config.settings.dtype):
        yield device


def _device(config: RunConfig) -> Iterator[Answer]:
    with _computing(config) as device:
        held = (device.memory_stats() or {}).get("bytes_limit")
        yield {
            "platform": device.platform,
            "kind": device.device_kind,
            "memory_limit": memory_limit(),
            "held": held,
        }


def _compile(config: RunConfig) -> Iterator[Answer]:
    with _computing(config):
        compiled, _ = compiled_cell(config)
        yield {"bytes": predicted_bytes(compiled)}


def _run(config: RunConfig) -> Iterator[Answer]:
    """Make one update; yield first the memory in use that does not belong to the program."""
    with _computing(config) as device:
        compiled, inputs = compiled_cell(config)
        # Compiled as one function, which drops the held-out samples: no result depends on them.
        arguments = jax.block_until_ready(jax.jit(inputs.make)())
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments))
        give_back()
        yield {"baseline": resident_bytes() - held}
        pace = (jnp.float32(0), jnp.float32(0))
        update = partial(compiled, *arguments, pace, jnp.int32(1))
        increase = resident_peak(lambda: jax.block_until_ready(update()))
        measured = held + increase if device.platform == "cpu" else devices.peak_bytes([device])
        known = measured is not None and math.isfinite(measured)
        yield {"measured": measured if known else None}


_REQUESTS: dict[str, Callable[[RunConfig], Iterator[Answer]]] = {
    "device": _device,
    "compile": _compile,
    "run": _run,
}


def _answers(line: str) -> Iterator[Answer]:
    message = json.loads(line)
    try:
        yield from _REQUESTS[message["request"]](from_record(message["record"], trust=True))
    except Refused as refused:
        yield {"refused": str(refused)}
    except OptionError as error:
        yield {"option": [error.key, str(error.value), error.reason]}
    except Exception as error:
        yield {"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}


def _serve() -> NoReturn:
    """Answer requests until standard input is closed."""
    # Output of problems and libraries goes to standard error, apart from the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            for answer in _answers(line):
                print(json.dumps(answer), file=out, flush=True)
    raise SystemExit(0)


if __name__ == "__main__":
    begin_run()
    _serve()
