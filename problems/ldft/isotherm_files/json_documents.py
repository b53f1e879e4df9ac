"""Isotherms in JSON: of the NIST/ARPA-E database (ISODB) and of pyGAPS."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from physopt.problems.ldft.isotherm_files.conditions import kelvin
from physopt.problems.ldft.isotherm_files.headings import PASCALS, heading, pressure_unit
from physopt.problems.ldft.isotherm_files.points import Column, Conditions, Points

_DESORPTION = {"des": True, "desorp": True, "desorption": True, "1": True, "True": True,
               "ads": False, "adsorp": False, "adsorption": False, "0": False,
               "False": False}  # fmt: skip


def json_points(text: str) -> Points:
    """Return the points of an isotherm in the form of ISODB or of pyGAPS.

    Raises ValueError if the text is no such isotherm.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the JSON cannot be parsed: {error}") from None
    if not isinstance(document, dict):
        raise ValueError("the JSON is no isotherm: expected an object with isotherm_data")
    if "isotherm_model" in document:
        raise ValueError("the JSON holds a fitted model; the measured points are needed")
    records = document.get("isotherm_data")
    if not isinstance(records, list) or not records:
        raise ValueError("the JSON is no isotherm: it lacks a list isotherm_data")
    return (_nist if "pressureUnits" in document else _pygaps)(document, records)


def _nist(document: Mapping[str, Any], records: Sequence[Any]) -> Points:
    adsorbates = document.get("adsorbates")
    adsorbates = adsorbates if isinstance(adsorbates, list) else []
    if len(adsorbates) > 1:
        raise ValueError("the isotherm is of a mixture; that of water alone is needed")
    if document.get("log_scale"):
        raise ValueError("log_scale is set: pressures on a linear scale are needed")
    stated = str(document["pressureUnits"])
    is_relative = stated.upper().startswith(("RELATIVE", "RH"))
    unit = ("%" if "%" in stated else "fraction") if is_relative else _pressure(stated)
    names = [str(a.get("name")) for a in adsorbates if isinstance(a, dict)]
    temperature = document.get("temperature")
    conditions = Conditions(
        float(temperature) if isinstance(temperature, int | float) else None,
        None,
        names[0] if names else None,
    )
    content_unit = _text(document.get("adsorptionUnits"))
    return _points("NIST ISODB JSON", [_with_total(r) for r in records], "total_adsorption",
                   unit, is_relative, content_unit, conditions)  # fmt: skip


def _with_total(record: Any) -> Any:
    """Return a record whose total adsorption is that of its only species, if it states none."""
    if isinstance(record, dict) and "total_adsorption" not in record:
        match record.get("species_data"):
            case [{"adsorption": amount}]:
                return {**record, "total_adsorption": amount}
    return record


def _pygaps(document: Mapping[str, Any], records: Sequence[Any]) -> Points:
    mode = document.get("pressure_mode", "absolute")
    if mode not in ("absolute", "relative", "relative%"):
        raise ValueError(f"pressure_mode '{mode}' is none of absolute, relative, relative%")
    is_relative = mode != "absolute"
    unit = {"relative": "fraction", "relative%": "%"}.get(mode)
    if not is_relative:
        unit = _pressure(str(document.get("pressure_unit")))
    temperature = document.get("temperature")
    known = isinstance(temperature, int | float)
    conditions = Conditions(
        kelvin(float(temperature), str(document.get("temperature_unit") or "K")) if known else None,
        None,
        _text(document.get("adsorbate")),
    )
    return _points("pyGAPS JSON", records, "loading",
                   unit, is_relative, _pygaps_content(document), conditions)  # fmt: skip


def _pygaps_content(document: Mapping[str, Any]) -> str | None:
    basis = _text(document.get("loading_basis"))
    if basis in ("percent", "fraction"):
        return f"{basis} by {document.get('material_basis', 'mass')}"
    units = [_text(document.get(name)) for name in ("loading_unit", "material_unit")]
    return "/".join(unit for unit in units if unit) or None


def _points(
    form: str,
    records: Sequence[Any],
    loading: str,
    unit: str | None,
    is_relative: bool,
    content_unit: str | None,
    conditions: Conditions,
) -> Points:
    places = tuple(f"isotherm_data, point {k + 1}" for k in range(len(records)))
    pressure = [_number(r, "pressure", p) for r, p in zip(records, places, strict=True)]
    content = [_number(r, loading, p) for r, p in zip(records, places, strict=True)]
    return Points(
        form,
        Column(np.array(pressure), "pressure", unit),
        is_relative,
        Column(np.array(content), loading, content_unit and _shown_unit(content_unit)),
        _labels(records, places),
        places,
        conditions=conditions,
    )


def _labels(records: Sequence[Any], places: Sequence[str]) -> np.ndarray | None:
    """Return the branches; as in pyGAPS a point without one is of adsorption if others have one."""
    if not any("branch" in record for record in records):
        return None
    labels = []
    for record, place in zip(records, places, strict=True):
        named = str(record.get("branch", "ads"))
        if named not in _DESORPTION:
            raise ValueError(f"{place}: branch '{named}' is none of ads and des")
        labels.append(_DESORPTION[named])
    return np.array(labels)


def _number(record: Any, key: str, place: str) -> float:
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{place}: {key} is {json.dumps(value)}, no number")
    return float(value)


def _pressure(stated: str) -> str:
    unit = pressure_unit(stated)
    if unit not in PASCALS:
        raise ValueError(f"'{stated}' is no unit of pressure that is known")
    return unit


def _shown_unit(stated: str) -> str:
    return heading(stated).unit or stated


def _text(value: object) -> str | None:
    return value.strip() or None if isinstance(value, str) else None
