"""Cell: one training program, compiled from shapes alone or run once.

The module is the program of a subprocess, which may run out of memory or crash without harm to the
map:

    python -m physopt.feasibility.cell

reads requests from standard input, one JSON object a line, and answers with lines of JSON:
{"request": "device" | "compile" | "run", "record": the content of a run's config.json}.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from physopt.config import RunConfig
from physopt.config.run_config import from_record
from physopt.machine import devices
from physopt.machine.failures import own_words
from physopt.machine.parent import begin_run
from physopt.machine.resident import release_free_memory, resident_bytes, resident_peak
from physopt.options import OptionError
from physopt.records.status import End, verdict
from physopt.rule import UpdateRule
from physopt.training.loop import compile_program
from physopt.training.setup import Refused, plan, prepare


def compiled_cell(config: RunConfig) -> tuple[jax.stages.Compiled, Callable[[], tuple[Any, ...]]]:
    """Compile the training program of a config from shapes, without allocating its arrays.

    Returns it and a function that makes its first arguments: objective, carry, source, key. Call
    inside `devices.computing`. Raises Refused if the rule refuses the problem.
    """
    rules: list[UpdateRule] = []

    def arguments() -> tuple[Any, ...]:
        setup = prepare(config)
        rules.append(setup.rule)
        plan(setup)
        return setup.objective, setup.initial_carry(), setup.source, setup.key

    shapes = jax.eval_shape(arguments)
    return compile_program(rules[0], *shapes).compiled, arguments


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


Contents = Iterator[dict[str, Any]]


def _device(config: RunConfig, device: devices.Device) -> Contents:
    yield {
        "platform": device.platform,
        "kind": device.device_kind,
        "memory_limit": devices.memory_limit(),
        "held": (device.memory_stats() or {}).get("bytes_limit"),
    }


def _compile(config: RunConfig, device: devices.Device) -> Contents:
    yield {"bytes": predicted_bytes(compiled_cell(config)[0])}


def _run(config: RunConfig, device: devices.Device) -> Contents:
    """Make one update; yield first the memory in use that does not belong to the program."""
    compiled, arguments = compiled_cell(config)
    # Compiled as one function, which drops the held-out samples: no result depends on them.
    inputs = jax.block_until_ready(jax.jit(arguments)())
    held = sum(leaf.nbytes for leaf in jax.tree.leaves(inputs))
    release_free_memory()
    yield {"baseline": resident_bytes() - held}
    one_update = (jnp.float32(0), jnp.float32(0)), jnp.int32(1)  # pace, length
    increase = resident_peak(lambda: jax.block_until_ready(compiled(*inputs, *one_update)))
    measured = held + increase if device.platform == "cpu" else devices.peak_bytes([device])
    known = measured is not None and math.isfinite(measured)
    yield {"measured": measured if known else None}


_REQUESTS = {"device": _device, "compile": _compile, "run": _run}


def _answers(line: str) -> Iterator[dict[str, Any]]:
    message = json.loads(line)
    try:
        config = from_record(message["record"], trust=True)
        (device,) = devices.select(config.settings.device)
        with devices.computing(device, config.settings.dtype):
            for content in _REQUESTS[message["request"]](config, device):
                yield {"status": "ok", "content": content}
    except Refused as refused:
        yield {"status": "refused", "reason": str(refused)}
    except OptionError as error:
        yield {"option": [error.key, str(error.value), error.reason]}
    except Exception as error:
        # The same verdict as on a process that printed this exception last.
        status, reason = verdict(End(1, None, own_words(error), None), {}, None)
        yield {"status": status, "reason": reason.removeprefix("exit code 1: ")}


def main() -> None:
    """Answer requests until standard input is closed."""
    # Output of problems and libraries goes to standard error, apart from the answers.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        for line in sys.stdin:
            for answer in _answers(line):
                print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    begin_run()
    main()
