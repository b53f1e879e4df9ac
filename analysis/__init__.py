"""Analysis: from records to curves, scores and reports. It reads records, never physics.

from physopt import analysis

frame = analysis.load("runs/results")          # one row per evaluation, ready for seaborn
analysis.curves(frame)                         # loss against training time, a Figure
analysis.time_to_target(frame)                 # a DataFrame
analysis.plot_profile(analysis.performance_profile(frame))

Everything takes a frame and returns a frame or a matplotlib Figure. What a score leaves out or
counts in a special way stands in words in `result.attrs["notes"]`.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Not deferred like the others: importing the module `load` later would hide the function.
from physopt.analysis.load import load

if TYPE_CHECKING:
    from physopt.analysis.comparison import compare, plot_comparison
    from physopt.analysis.fairness import comparable
    from physopt.analysis.plots import curves, feasibility_map, plot_ecdf, plot_profile
    from physopt.analysis.profiles import ecdf, performance_profile
    from physopt.analysis.report import write_report
    from physopt.analysis.resampling import resample
    from physopt.analysis.scaling import batch_scaling, device_scaling, speedup
    from physopt.analysis.scaling_plots import plot_scaling, plot_speedup
    from physopt.analysis.scores import final_errors, ranks, score_table, time_to_target
    from physopt.analysis.targets import hitting_times, shared_targets
    from physopt.analysis.tests_of_difference import paired_tests

__all__ = [
    "batch_scaling",
    "comparable",
    "compare",
    "curves",
    "device_scaling",
    "ecdf",
    "feasibility_map",
    "final_errors",
    "hitting_times",
    "load",
    "paired_tests",
    "performance_profile",
    "plot_comparison",
    "plot_ecdf",
    "plot_profile",
    "plot_scaling",
    "plot_speedup",
    "ranks",
    "resample",
    "score_table",
    "shared_targets",
    "speedup",
    "time_to_target",
    "write_report",
]

_NAMES = {
    "comparison": ("compare", "plot_comparison"),
    "fairness": ("comparable",),
    "plots": ("curves", "feasibility_map", "plot_ecdf", "plot_profile"),
    "profiles": ("ecdf", "performance_profile"),
    "report": ("write_report",),
    "resampling": ("resample",),
    "scaling": ("batch_scaling", "device_scaling", "speedup"),
    "scaling_plots": ("plot_scaling", "plot_speedup"),
    "scores": ("final_errors", "ranks", "score_table", "time_to_target"),
    "targets": ("hitting_times", "shared_targets"),
    "tests_of_difference": ("paired_tests",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physopt.analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(f"physopt.analysis.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
