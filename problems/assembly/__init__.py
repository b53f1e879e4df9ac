"""Self-assembly of a complex: mass-action kinetics, growth rates for high yield, and their fit."""

from physopt.problems.assembly.design import Assembly
from physopt.problems.assembly.fit import AssemblyFit
from physopt.problems.assembly.kinetics import Complex, yields

__all__ = ["Assembly", "AssemblyFit", "Complex", "yields"]
