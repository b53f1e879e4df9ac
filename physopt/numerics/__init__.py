"""Numerics: linear algebra and derivatives of arrays; nothing here knows problems or rules."""
