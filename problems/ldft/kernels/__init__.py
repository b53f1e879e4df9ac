"""Triton kernels of the LDFT solvers for NVIDIA GPUs: one program solves one lane to convergence.

`choose` returns the kernel for a lattice where there is one; `fixed_points` and `linear_response`
run it. Everywhere else the loops of `pool` and `response` do the same calculation.
"""

from physopt.problems.ldft.kernels.launch import Kernel, choose, fixed_points, linear_response

__all__ = ["Kernel", "choose", "fixed_points", "linear_response"]
