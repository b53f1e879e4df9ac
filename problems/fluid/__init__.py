"""Incompressible fluids on staggered grids: steps of the simulation, and the problems made of them."""
