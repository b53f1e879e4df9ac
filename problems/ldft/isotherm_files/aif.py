"""Adsorption Information Files, the STAR format for sorption data.

Source: J. D. Evans et al., Langmuir 37, 4222 (2021).
"""

import importlib.util
import re
from typing import TYPE_CHECKING

import numpy as np

from physopt.problems.ldft.isotherm_files.conditions import kelvin
from physopt.problems.ldft.isotherm_files.headings import PASCALS, heading, pressure_unit
from physopt.problems.ldft.isotherm_files.points import Column, Conditions, Points

if TYPE_CHECKING:
    from gemmi import cif  # type: ignore[import-not-found]

_LOADINGS = ("amount", "loading", "loading_absolute", "loading_excess", "loading_net")


def is_aif(text: str) -> bool:
    """Return whether a text is an Adsorption Information File."""
    return re.search(r"^\s*data_", text, re.MULTILINE) is not None and "_adsorp_" in text


def aif_points(text: str) -> Points:
    """Return the points of an Adsorption Information File.

    Raises ValueError if gemmi is missing, if the file is damaged or if it lacks a loop.
    """
    if importlib.util.find_spec("gemmi") is None:
        raise ValueError("reading an AIF file needs gemmi: pip install physopt[isotherms]")
    from gemmi import cif  # type: ignore[import-not-found]

    try:
        block = cif.read_string(text).sole_block()
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the AIF file cannot be parsed: {' '.join(str(error).split())}") from None
    unit = _unit(block)
    up, loading = _loop(block, "_adsorp_")
    down, _ = _loop(block, "_desorp_") if block.find_values("_desorp_pressure") else (up[:, :0], "")
    pressure, saturation, content = np.concatenate([up, down], axis=1)
    places = [f"point {k + 1} of the {branch} loop"
              for branch, points in (("_adsorp", up), ("_desorp", down))
              for k in range(points.shape[1])]  # fmt: skip
    content_unit = _value(block, "_units_loading") or _value(block, "_units_sorbed_amount")
    is_relative = unit in ("fraction", "%")
    return Points(
        "AIF file",
        Column(pressure, "_adsorp_pressure", unit),
        is_relative,
        Column(content, loading, content_unit and (heading(content_unit).unit or content_unit)),
        np.arange(len(pressure)) >= up.shape[1],
        tuple(places),
        None if np.isnan(saturation).any() else Column(saturation, "_adsorp_p0", unit),
        _conditions(block, unit),
    )


def _unit(block: "cif.Block") -> str | None:
    stated = _value(block, "_units_pressure")
    if stated is None:
        return None
    if heading(stated).quantity == "relative" or "relative" in stated.lower():
        return "%" if "%" in stated else "fraction"
    unit = pressure_unit(stated)
    if unit is None:
        raise ValueError(f"_units_pressure '{stated}' is no unit of pressure that is known")
    return unit


def _loop(block: "cif.Block", prefix: str) -> tuple[np.ndarray, str]:
    """Return pressure, saturation pressure (NaN if not stated) and loading, [3, n]."""
    loading = next((n for n in _LOADINGS if block.find_values(prefix + n)), None)
    if loading is None or not block.find_values(f"{prefix}pressure"):
        raise ValueError(f"the AIF file lacks {prefix}pressure or {prefix}loading")
    pressure = _numbers(block, f"{prefix}pressure")
    columns = [
        pressure,
        _numbers(block, f"{prefix}p0") or [np.nan] * len(pressure),
        _numbers(block, prefix + loading),
    ]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"the columns of the {prefix} loop have different lengths")
    return np.array(columns), prefix + loading


def _numbers(block: "cif.Block", name: str) -> list[float]:
    from gemmi import cif  # type: ignore[import-not-found]

    numbers = [cif.as_number(text) for text in block.find_values(name)]
    for k, number in enumerate(numbers):
        if np.isnan(number):
            raise ValueError(f"{name}, point {k + 1}: '{block.find_values(name)[k]}' is no number")
    return numbers


def _value(block: "cif.Block", name: str) -> str | None:
    from gemmi import cif  # type: ignore[import-not-found]

    value = block.find_value(name)
    return cif.as_string(value).strip() or None if value else None


def _conditions(block: "cif.Block", unit: str | None) -> Conditions:
    degrees = _value(block, "_exptl_temperature")
    temperature = None
    if degrees is not None:
        temperature = kelvin(float(degrees), _value(block, "_units_temperature") or "K")
    stated = _value(block, "_exptl_p0")
    known = stated is not None and unit in PASCALS
    saturation = float(stated) * PASCALS[unit] if stated and unit and known else None
    adsorptive = _value(block, "_exptl_adsorptive") or _value(block, "_adsorptive_name")
    return Conditions(temperature, saturation, adsorptive)
