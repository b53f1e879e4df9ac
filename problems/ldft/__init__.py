"""Water sorption in porous matrices by lattice density functional theory."""

from physopt.problems.ldft.flips import refine_matrices
from physopt.problems.ldft.isotherm import isotherm, isotherm_and_jacobian
from physopt.problems.ldft.lattice import Fluid, grand_potential

__all__ = ["Fluid", "grand_potential", "isotherm", "isotherm_and_jacobian", "refine_matrices"]
