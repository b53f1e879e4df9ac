"""Spring networks in linear response: allostery and elasticity."""

from physopt.problems.springs.allostery import Springs
from physopt.problems.springs.elastic import SpringsElastic

__all__ = ["Springs", "SpringsElastic"]
