"""Relative humidity from the axis of an isotherm."""

import numpy as np

from physopt.problems.ldft.isotherm_files.headings import PASCALS
from physopt.problems.ldft.isotherm_files.points import Points
from physopt.problems.ldft.isotherm_files.water import saturation_pressure

HIGHEST = 1.02
"""Largest relative humidity that is read as a measurement near saturation."""
LOWEST = -0.005
"""Smallest relative humidity that is read as the noise of a dry gas."""

_SURELY_PERCENT, _SURELY_PERCENT_UNNAMED = 10.0, 60.0
WATER = ("water", "h2o", "wasser", "eau", "water vapor", "water vapour")


def relative_humidity(points: Points) -> tuple[np.ndarray, str]:
    """Return the relative humidities [n] as fractions, at least 0, and how they were read.

    Raises ValueError if the unit is not certain or if a value is no relative humidity.
    """
    values, unit = (_relative if points.is_relative else _from_pressure)(points)
    for bad in np.flatnonzero((values > HIGHEST) | (values < LOWEST))[:1]:
        value = f"{points.axis.values[bad]:g} {points.axis.unit or ''}".strip()
        raise ValueError(
            f"{points.places[bad]}: {points.axis.name} {value} is a relative humidity of "
            f"{values[bad]:.4g}; it must lie in [0, 1] or [0, 100] %"
        )
    return np.maximum(values, 0.0), f"{points.axis.name}, {unit}"


def _relative(points: Points) -> tuple[np.ndarray, str]:
    values, unit = points.axis.values, points.axis.unit
    largest = float(values.max())
    if unit == "fraction":
        return values, "a fraction as stated"
    if unit == "%":
        if largest <= HIGHEST:
            raise ValueError(
                f"{points.axis.name} is stated in per cent, but its largest value is {largest:g}: "
                "if it is a fraction, remove the % from the heading"
            )
        return values / 100, "per cent as stated"
    if largest <= HIGHEST:
        return values, f"a fraction, as no value exceeds {largest:g}"
    if largest > (_SURELY_PERCENT if points.is_named else _SURELY_PERCENT_UNNAMED):
        return values / 100, f"per cent, as values reach {largest:g}"
    place = points.places[int(np.argmax(values))]
    raise ValueError(
        f"{place}: the unit of {points.axis.name} is not stated, and {largest:g} may be per cent or"
        " a pressure: add a heading, for example 'RH (%)' or 'p (kPa)'"
    )


def _from_pressure(points: Points) -> tuple[np.ndarray, str]:
    """Divide pressures by the saturation pressure that the file or its temperature gives."""
    values, unit = points.axis.values, points.axis.unit
    if (column := points.saturation) is not None:
        scale = _scale(unit, column.unit, f"{points.axis.name} and {column.name}")
        for bad in np.flatnonzero(~(column.values > 0))[:1]:
            raise ValueError(
                f"{points.places[bad]}: {column.name} is {column.values[bad]:g}, "
                "but a saturation pressure must be > 0"
            )
        return values * scale / column.values, f"{unit or 'pressure'} divided by {column.name}"
    if unit is None:
        raise ValueError(
            f"the unit of {points.axis.name} is not stated: write it into the heading, for example "
            "'p (kPa)'"
        )
    pressures = values * PASCALS[unit]
    conditions = points.conditions
    if conditions.saturation is not None:
        stated = f"{conditions.saturation / 1000:.5g} kPa as stated"
        return pressures / conditions.saturation, f"{unit} divided by p0 = {stated}"
    if conditions.temperature is None:
        raise ValueError(
            f"{points.axis.name} in {unit} needs the saturation pressure, but the file states "
            "neither that nor a temperature: add a line such as 'Temperature: 25 °C' or a column p0"
        )
    if conditions.adsorptive is not None and conditions.adsorptive.lower() not in WATER:
        raise ValueError(
            f"{points.axis.name} in {unit} needs the saturation pressure of "
            f"{conditions.adsorptive}, which the file does not state; it is known for water only"
        )
    saturation = saturation_pressure(conditions.temperature)
    return pressures / saturation, (
        f"{unit} divided by p0 = {saturation / 1000:.5g} kPa of water at "
        f"{conditions.temperature:.5g} K"
    )


def _scale(unit: str | None, other: str | None, names: str) -> float:
    if unit == other:
        return 1.0
    if unit is None or other is None:
        raise ValueError(f"{names} must both state their unit, or neither")
    return PASCALS[unit] / PASCALS[other]
