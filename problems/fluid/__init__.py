"""Incompressible fluids on staggered grids: steps of a simulation, and problems made of them."""
