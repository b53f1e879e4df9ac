"""Worker: a process that measures cases and reports on standard output, in lines of JSON.

    {"machine": ..., "cases": [[name, section], ...]}    once, before anything is measured
    {"begin": name}    {"rows": [...]}                   of every case

It ends with exit code 1 when the device no longer computes, as after a kernel's invalid access.
"""

import json
import os
import sys
from typing import Any

from accelerator.rows import FAILED


def main(request: dict[str, Any]) -> int:
    """Measure the selected cases that are not done yet; return the exit code.

    request: "scale" (small, full or none for the device's own), "only" [patterns], "done" [names].
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not mix with the lines of this process

    def write(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=channel, flush=True)

    import jax

    from accelerator.cases import all_cases
    from accelerator.machine import machine

    device = jax.devices()[0]
    scale = request["scale"] or ("small" if device.platform == "cpu" else "full")
    cases = [c for c in all_cases(scale == "small") if c.matches(request["only"])]
    write({"machine": machine(device, scale), "cases": [[c.name, c.section] for c in cases]})
    for case in cases:
        if case.name in request["done"]:
            continue
        write({"begin": case.name})
        try:
            rows = case.measure()
        except Exception as error:
            rows = [case.failed(error)]
        write({"rows": [row.to_json() for row in rows]})
        if rows[-1].status == FAILED and not computes(device):
            return 1
    return 0


def computes(device: Any) -> bool:
    """Return whether a device still computes."""
    import jax
    import jax.numpy as jnp

    try:
        with jax.default_device(device):
            return float(jax.block_until_ready(jnp.ones(8) + 1).sum()) == 16
    except Exception:
        return False


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
