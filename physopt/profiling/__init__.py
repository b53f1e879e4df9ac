"""Profiling: the time that a compiled program spends in each operation."""
