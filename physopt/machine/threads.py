"""Threads: how many of them linear algebra uses, and how busy the machine is.

BLAS and LAPACK, also those that JAX calls on a CPU, spread one operation over all cores and let
threads that wait for another one spin. On a machine with other work that wait is long: an
eigendecomposition of 128 x 128 takes a hundred times longer with two threads than with one. XLA's
own threads sleep while they wait.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg.cython_lapack  # noqa: F401, the LAPACK of JAX, loaded so that it is limited
from threadpoolctl import threadpool_info, threadpool_limits


@contextmanager
def blas_limited(count: int | None) -> Iterator[None]:
    """Context in which BLAS and LAPACK use at most `count` threads, one if it is None."""
    with threadpool_limits(limits=count or 1, user_api="blas"):
        yield


def blas_threads() -> int:
    """Return the number of threads that BLAS and LAPACK use now."""
    pools = (pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    return max(pools, default=1)


def limit_xla(count: int | None) -> None:
    """Limit the threads of XLA, if JAX has not started on the CPU of this process yet."""
    if count is not None:
        os.environ["NPROC"] = str(count)


def load_average() -> float | None:
    """Return the mean number of runnable processes of the last minute, None if not measured."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # not on Windows
        return None
