"""Numerics: linear algebra and derivatives of arrays, without reference to problems or rules."""
