"""Profiling: the operations that the time of a compiled program goes to."""
