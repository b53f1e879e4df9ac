"""Minimal work in a harmonic trap: both traps with their optima, moments, trajectories, problem."""

from physopt.problems.trap.problem import Trap

__all__ = ["Trap"]
