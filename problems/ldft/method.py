"""Choice of how isotherms are computed, by platform: Triton kernels or XLA's loops, and sizes.

Both do the same calculation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp

from physopt.machine.devices import current_platform, has_triton
from physopt.problems.ldft import kernels
from physopt.problems.ldft.sublattices import Sublattices

Method = Literal["auto", "loops", "kernels"]

KERNEL_RUNS = 8192
"""Runs of humidities that keep a GPU busy: 132 multiprocessors of an H100 hold about 2,000 programs
of four warps at a time, and runs differ in length by a factor of ten."""


class Ways(NamedTuple):
    """The choice, and the sizes that go with it."""

    kernel: kernels.Kernel | None
    """None: XLA's loops."""
    widths: tuple[int, ...]
    """Numbers of lanes that the loops sweep together; many lanes keep an accelerator busy, on a CPU
    a block of them fits the cache."""
    runs: int
    """Runs of humidities, over all matrices, that are wanted at least."""
    response_sites: int
    """Sites, over all lanes, for which the linear response is solved in one batch."""


def choose_method(lattice: Sublattices, dtype: Any, method: Method = "auto") -> Ways:
    """Return how isotherms of a lattice are computed. Raises ValueError if the method cannot."""
    kernel = _kernel(lattice, dtype, method)
    on_cpu = current_platform() == "cpu"
    widest, sites = (64, 2**16) if on_cpu else (2**14, 2**22)
    width = min(widest, max(16, sites // lattice.sites // 16 * 16))
    return Ways(
        kernel,
        widths=(width, max(16, width // 4)),
        runs=KERNEL_RUNS if kernel else 2 * width,
        response_sites=2**14 if on_cpu else 2**26 if kernel else 2**22,
    )


def _kernel(lattice: Sublattices, dtype: Any, method: Method) -> kernels.Kernel | None:
    if method not in get_args(Method):
        raise ValueError(f"method is 'auto', 'loops' or 'kernels', not {method!r}")
    if method == "loops" or (method == "auto" and not has_triton()):
        return None
    kernel = kernels.choose(lattice, dtype)
    if kernel is None and method == "kernels":
        raise ValueError(f"a lattice of {lattice.sites} sites does not fit a kernel; use 'loops'")
    return kernel if kernel is None else replace(kernel, interpret=not has_triton())


def described(side: int, dimensions: int) -> str | None:
    """Return on a GPU how isotherms of the default dtype are computed; None elsewhere."""
    if current_platform() != "gpu":
        return None
    if not has_triton():
        return "isotherms by XLA's loops: kernels need an NVIDIA GPU"
    dtype = jnp.result_type(float)
    kernel = _kernel(Sublattices(side, dimensions), dtype, "auto")
    if kernel is None:
        return f"isotherms by XLA's loops: {side**dimensions} sites in {dtype} do not fit a kernel"
    return f"isotherms by kernels of {kernel.warps} warps, one program a run of humidities"
