"""Cores: those that this process may use, and the threads that XLA starts on them."""

import os


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1


def xla_threads() -> int:
    """Return the number of threads that XLA uses: NPROC, or one per core."""
    limit = os.environ.get("NPROC", "")
    return int(limit) if limit.isdigit() else cores()
