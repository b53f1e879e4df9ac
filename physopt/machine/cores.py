"""Cores: those that this process may use."""

import os


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
