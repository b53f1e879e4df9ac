"""Burgers' equation under control: scheme, scenes, the two problems and their networks."""

from physopt.problems.burgers.control import Burgers
from physopt.problems.burgers.scheme import advance, random_scene
from physopt.problems.burgers.supervised import BurgersSupervised

__all__ = ["Burgers", "BurgersSupervised", "advance", "random_scene"]
