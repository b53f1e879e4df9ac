"""physopt: compare training schemes for networks that learn through a physics simulator.

import physopt

run = physopt.run("ldft2d", "adam", steps=200)
run.curve                                     # a DataFrame, one row per evaluation
physopt.load(run.folder).predict(inputs)      # the trained network
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from physopt.objective import Objective
    from physopt.problem import Batch, Problem
    from physopt.rule import UpdateRule, cost
    from physopt.training.run import Run, load, resume, run

__all__ = ["Batch", "Objective", "Problem", "Run", "UpdateRule", "cost", "load", "resume", "run"]

__version__ = "0.1.0"

# Imported when asked for, so that the command line's help need not wait for JAX.
_HOME = {
    "Batch": "physopt.problem",
    "Objective": "physopt.objective",
    "Problem": "physopt.problem",
    "Run": "physopt.training.run",
    "UpdateRule": "physopt.rule",
    "cost": "physopt.rule",
    "load": "physopt.training.run",
    "resume": "physopt.training.run",
    "run": "physopt.training.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physopt' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
