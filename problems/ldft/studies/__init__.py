"""Studies of the simulator and of designed matrices: pure functions that return a DataFrame.

Each takes matrices as an array, [matrices, n, n] or [matrices, n, n, n], and computes in its dtype,
float32 or float64. `physopt.problems.ldft.study_figures` draws what they return.
"""

from physopt.problems.ldft.studies.cost import memory
from physopt.problems.ldft.studies.matrices import (
    designed_matrices,
    near_binary,
    procedural_isotherms,
    random_matrices,
)
from physopt.problems.ldft.studies.pores import pore_size_map, pore_sizes
from physopt.problems.ldft.studies.repetition import translation
from physopt.problems.ldft.studies.unrolled import accuracy, gradient_error

__all__ = [
    "accuracy",
    "designed_matrices",
    "gradient_error",
    "memory",
    "near_binary",
    "pore_size_map",
    "pore_sizes",
    "procedural_isotherms",
    "random_matrices",
    "translation",
]
