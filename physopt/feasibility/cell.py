"""Cell: one training program, compiled from shapes alone or run once.

This is the program of a process of its own, which may run out of memory without harm to the map:

    python -m physopt.feasibility.cell

reads a JSON object from each line of standard input and answers with lines of JSON: {"ask":
"device" | "compile" | "run", "words": what would be typed after `python -m physopt run`}.
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

from physopt.config import RunConfig, from_words
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
    """The rule of a config, and the function that makes all arguments of its training program."""

    rule: UpdateRule
    make: Callable[[], tuple[Any, ...]]
    shapes: tuple[Any, ...]


def compiled_cell(config: RunConfig) -> tuple[jax.stages.Compiled, Inputs]:
    """Compile the training program of a config from shapes; no array of it is ever made.

    Call inside `devices.computing`. Raises Refused where the rule refuses.
    """
    inputs = _inputs(config)
    objective, carry, source, key = inputs.shapes
    return compile_program(inputs.rule, objective, carry, source, key).compiled, inputs


def predicted_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Return the device memory that a program needs while it runs, None where nobody says.

    Arguments + results + temporaries - results that take the place of arguments.
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
    """Make one update; say before it how much memory is in use that is not the program's."""
    with _computing(config) as device:
        compiled, inputs = compiled_cell(config)
        # Compiled as one function, so that held-out samples, which nobody asks for, are not made.
        arguments = jax.block_until_ready(jax.jit(inputs.make)())
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(arguments))
        give_back()
        yield {"others": resident_bytes() - held}
        pace = (jnp.float32(0), jnp.float32(0))
        update = partial(compiled, *arguments, pace, jnp.int32(1))
        risen = resident_peak(lambda: jax.block_until_ready(update()))
        measured = held + risen if device.platform == "cpu" else devices.peak_bytes([device])
        known = measured is not None and math.isfinite(measured)
        yield {"measured": measured if known else None}


_ASKED: dict[str, Callable[[RunConfig], Iterator[Answer]]] = {
    "device": _device,
    "compile": _compile,
    "run": _run,
}


def _answers(line: str) -> Iterator[Answer]:
    request = json.loads(line)
    try:
        yield from _ASKED[request["ask"]](from_words(request["words"]))
    except Refused as refused:
        yield {"refused": str(refused)}
    except OptionError as error:
        yield {"option": [error.key, str(error.value), error.reason]}
    except Exception as error:
        yield {"error": " ".join(f"{type(error).__name__}: {error}".split())[:500]}


def _serve() -> NoReturn:
    """Answer until nothing more is asked."""
    # What a problem or a library prints must not stand between the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            for answer in _answers(line):
                print(json.dumps(answer), file=out, flush=True)
    raise SystemExit(0)


if __name__ == "__main__":
    begin_run()
    _serve()
