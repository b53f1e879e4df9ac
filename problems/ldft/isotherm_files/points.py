"""Points of an isotherm as a file states them."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Conditions:
    """What a file states about the whole measurement."""

    temperature: float | None = None  # K
    saturation: float | None = None  # Pa
    adsorptive: str | None = None


@dataclass(frozen=True)
class Column:
    """Numbers [n] of a quantity with the name and the unit that the file gives them."""

    values: np.ndarray
    name: str
    unit: str | None = None


@dataclass(frozen=True)
class Points:
    """Points in the order of the file, not yet converted."""

    form: str  # kind of file
    axis: Column
    is_relative: bool  # whether the axis is relative to saturation
    content: Column
    desorption: np.ndarray | None  # [n], whether a point is of the desorption branch
    places: tuple[str, ...]  # [n], where the file states a point
    saturation: Column | None = None  # of each point
    conditions: Conditions = Conditions()
    is_named: bool = True  # whether the file names its quantities
    remarks: tuple[str, ...] = field(default=())
