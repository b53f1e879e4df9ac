"""Analysis: curves, scores and reports from the records of runs. It runs no physics.

from physopt import analysis

frame = analysis.load("runs/results")          # one row per evaluation, ready for seaborn
analysis.curves(frame)                         # loss against training time, a Figure
analysis.time_to_target(frame)                 # a DataFrame
analysis.plot_profile(analysis.performance_profile(frame))

Scores and plots take a frame, or a `Comparison`: a frame with the options of its scores, whose
prepared tables several scores share. They return a frame or a matplotlib Figure; the sentences in
`result.attrs["notes"]` say what a score leaves out or treats specially.
"""

import importlib
from typing import TYPE_CHECKING, Any

# Not deferred like the others: a later import of the module `load` would replace the function.
from physopt.analysis.load import load

if TYPE_CHECKING:
    from physopt.analysis.comparison import Comparison
    from physopt.analysis.fairness import comparable
    from physopt.analysis.plots import curves, feasibility_map, plot_ecdf, plot_profile
    from physopt.analysis.profiles import ecdf, performance_profile
    from physopt.analysis.report import write_report
    from physopt.analysis.resampling import resample
    from physopt.analysis.samples import plot_samples, sample_errors, sample_quantiles
    from physopt.analysis.scaling import (
        batch_scaling,
        device_scaling,
        plot_scaling,
        plot_speedup,
        speedup,
    )
    from physopt.analysis.scores import final_errors, ranks, score_table, time_to_target
    from physopt.analysis.targets import hitting_times, shared_targets
    from physopt.analysis.tests_of_difference import paired_tests
    from physopt.analysis.two_folders import compare, plot_comparison

__all__ = [
    "Comparison", "batch_scaling", "comparable", "compare", "curves", "device_scaling", "ecdf",
    "feasibility_map", "final_errors", "hitting_times", "load", "paired_tests",
    "performance_profile", "plot_comparison", "plot_ecdf", "plot_profile", "plot_samples",
    "plot_scaling", "plot_speedup", "ranks", "resample", "sample_errors", "sample_quantiles",
    "score_table", "shared_targets", "speedup", "time_to_target", "write_report",
]  # fmt: skip

_NAMES = {
    "comparison": ("Comparison",),
    "fairness": ("comparable",),
    "plots": ("curves", "feasibility_map", "plot_ecdf", "plot_profile"),
    "profiles": ("ecdf", "performance_profile"),
    "report": ("write_report",),
    "resampling": ("resample",),
    "samples": ("plot_samples", "sample_errors", "sample_quantiles"),
    "scaling": ("batch_scaling", "device_scaling", "plot_scaling", "plot_speedup", "speedup"),
    "scores": ("final_errors", "ranks", "score_table", "time_to_target"),
    "targets": ("hitting_times", "shared_targets"),
    "tests_of_difference": ("paired_tests",),
    "two_folders": ("compare", "plot_comparison"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'physopt.analysis' has no attribute {name!r}")
    return getattr(importlib.import_module(f"physopt.analysis.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
