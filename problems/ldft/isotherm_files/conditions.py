"""Temperature, saturation pressure and adsorptive from the lines around a table."""

import re
from collections.abc import Iterable

from physopt.problems.ldft.isotherm_files.grid import Row
from physopt.problems.ldft.isotherm_files.headings import PASCALS, plain, pressure_unit
from physopt.problems.ldft.isotherm_files.points import Conditions

_NUMBER = r"(?P<value>-?\d+(?:[.,]\d+)?(?:e[-+]?\d+)?)"
_TEMPERATURE = re.compile(
    r"(?P<before>[a-z.]* ?)(\b(temperatur[ea]?|temp)\b|^t(?= ?[=:/(\[]))"
    rf"(?P<key>[^\d\n-]{{0,20}}?){_NUMBER} ?"
    r"(?P<unit>[(\[]? ?(° ?c|k|c|deg ?c|celsius|kelvin)\b)?"
)
_OTHER_TEMPERATURE = re.compile(r"outgas|degas|activation|drying|heat|manifold|cabinet|room|oven")
_SATURATION = re.compile(
    rf"(saturation( vapou?r)? pressure|vapou?r pressure|\bp ?[0o°]\b)(?P<key>[^\d\n-]{{0,20}}?)"
    rf"{_NUMBER} ?(?P<unit>[(\[]? ?[a-z]+)?"
)
_ADSORPTIVE = re.compile(
    r"\b(adsorptive|adsorbate|vapou?r|analysis (gas|ads(orptive)?))\b\W*[:=;,]?\W*(?P<name>\w+)"
)


def conditions(rows: Iterable[Row]) -> Conditions:
    """Return what the rows outside a table state; contradicting values count as not stated."""
    lines = [plain(" ".join(_shown(cell) for cell in row if cell != "")) for row in rows]
    temperatures = {t for line in lines for t in _temperatures(line)}
    saturations = {p for line in lines for p in _saturations(line)}
    names = [match["name"] for line in lines for match in _ADSORPTIVE.finditer(line)]
    names = [name for name in names if name != "pressure"]
    return Conditions(_only(temperatures), _only(saturations), names[0] if names else None)


def kelvin(value: float, unit: str) -> float | None:
    """Return a temperature in K; None if the unit is neither K nor Celsius."""
    letters = re.sub(r"[^a-z]", "", plain(unit))
    if letters in ("k", "kelvin"):
        return value
    return value + 273.15 if letters in ("c", "degc", "celsius") else None


def _temperatures(line: str) -> Iterable[float]:
    for match in _TEMPERATURE.finditer(line):
        if _OTHER_TEMPERATURE.search(match["before"]):
            continue
        in_key = re.search(r"/ ?k\b|[(\[]k[)\]]|° ?c|/ ?c\b|[(\[]c[)\]]", match["key"])
        unit = match["unit"] or (in_key.group() if in_key else "")
        temperature = kelvin(float(match["value"].replace(",", ".")), unit)
        if temperature is not None:
            yield temperature


def _saturations(line: str) -> Iterable[float]:
    for match in _SATURATION.finditer(line):
        unit = pressure_unit(match["unit"] or "") or pressure_unit(match["key"])
        value = float(match["value"].replace(",", "."))
        if unit is not None and value > 0:
            yield value * PASCALS[unit]


def _only(values: set[float]) -> float | None:
    return values.pop() if len(values) == 1 else None


def _shown(cell: float | str) -> str:
    return cell if isinstance(cell, str) else repr(cell)
