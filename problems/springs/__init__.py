"""Spring networks in linear response: allostery, elasticity, and tensors of structures."""

from physopt.problems.springs.allostery import Springs
from physopt.problems.springs.elastic import SpringsElastic
from physopt.problems.springs.structure import SpringsTensor

__all__ = ["Springs", "SpringsElastic", "SpringsTensor"]
