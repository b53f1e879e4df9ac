"""Column headings: the quantity that a column holds, its unit and its branch."""

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

Quantity = Literal["relative", "pressure", "saturation", "content", "branch", "other", "unknown"]

PASCALS = {
    "Pa": 1.0, "hPa": 100.0, "kPa": 1e3, "MPa": 1e6, "mbar": 100.0, "bar": 1e5, "atm": 101325.0,
    "Torr": 101325 / 760, "mmHg": 133.322387415, "psi": 6894.757293168,
}  # fmt: skip
"""Pressure units in Pa."""

_PRESSURE_UNIT = re.compile(rf"(?<![a-z])({'|'.join(PASCALS).lower()}|mm hg)(?![a-z])")
_PERCENT = re.compile(r"%|\b(percent|per cent|pct)\b")
_FRACTION = re.compile(r"[(\[]\s*[-1]\s*[)\]]|\bfraction|^-$")
_AMOUNT = r"(?<![a-z])(mmol|µmol|μmol|umol|mol|mg|kg|g|cm3|cc|ml|l|dm3|m3)"
_STP = r"( ?(\(stp\)|stp))?"
_PER_MASS = re.compile(
    rf"g ?/ ?100 ?g|{_AMOUNT}{_STP} ?(/|per) ?(kg|mg|g|cm3|ml|m3|mol)\b{_STP}"
    rf"|{_AMOUNT}{_STP} (kg|mg|g|cm3|m3|mol) ?-1{_STP}|molecules ?/ ?(unit ?cell|u\.?c\.?)"
)
_CONTENT_UNIT = re.compile(
    rf"{_PER_MASS.pattern}|(wt|mass|vol|mol|m)?[ .-]*%|(?<![a-z])(cm3|cc|ml)(?![a-z])( @)?{_STP}"
)
_DESORPTION = re.compile(r"\bdes\b|desorption|\bdesorp\b")
_ADSORPTION = re.compile(r"\bads\b|\badsorption|(?<![a-z])sorption|\badsorp\b")

# The first pattern that a heading matches decides.
_QUANTITIES: tuple[tuple[Quantity, re.Pattern[str]], ...] = (
    ("branch", re.compile(r"^(branch|direction|zweig|ads ?/ ?des|sorption ?/ ?desorption)\b")),
    ("other", re.compile(
        r"\btime|elapsed|\bzeit|minutes|\bdate|\btemp|dead|\bvd\b|hysteresis|enthalp|d[mnv] ?/ ?dt"
        r"|\brate\b|density|absolute humidity|humidity ratio|fugacity|composition|\bpi\b|\bpe2\b"
        r"|\btol|\bequ|\bcycle\b|uncertainty|\berror\b|\bstd|\bpore|cumulative|surface")),
    ("content", re.compile(
        r"water content|moisture content|feuchtegehalt|wassergehalt|teneur|\bemc\b"
        r"|change in mass|mass change|weight change|mass gain|weight gain|quantity adsorbed")),
    ("relative", re.compile(
        r"p ?/ ?p ?(0|o|s|sat|°)(?![a-z])|\bp p0 ?-1|relative ?(pressure|humidity)|rel\.? ?hum"
        r"|\br\.? ?h\.?(?![a-z])|humidity|water activity|\ba ?w\b|feuchte|\br\.?f\.?(?![a-z])"
        r"|humidit[eé]|^h\b")),
    ("saturation", re.compile(r"saturation|\bp ?(0|o|°)(?![a-z0-9])|\bp ?sat\b")),
    ("pressure", re.compile(r"pressure|\bpress\b|\bpres\b|\bpe?(?![a-z0-9])|druck|pression")),
    ("content", re.compile(
        r"content|uptake|loading|adsorbed|amount|sorption|sorbed|moisture|\bwater\b|beladung"
        r"|volume ?@|\b(v|va|n|na|q|w)(?![a-z])|\bdm\b|filling")),
)  # fmt: skip
_MASS = re.compile(r"\b(mass|weight|gewicht|masse)\b")
_MEASURED = re.compile(r"actual|measured|equilibrium|sample|\bist\b")
_NOMINAL = re.compile(r"target|set ?point|\bset\b|nominal|\bsoll\b")


@dataclass(frozen=True)
class Heading:
    """What the heading of a column states."""

    text: str
    quantity: Quantity
    unit: str | None = None  # "%", "fraction", a pressure unit, or the unit of a content as written
    desorption: bool | None = None
    rank: int = 1  # of a humidity: 2 measured, 1 not stated, 0 nominal

    @property
    def is_mass(self) -> bool:
        """Whether the column holds the mass of the sample with its water."""
        return self.quantity == "unknown" and _MASS.search(plain(self.text)) is not None


def plain(text: str) -> str:
    """Return a text in lower case, without superscripts, quotes and repeated spaces."""
    text = unicodedata.normalize("NFKC", text).lower().replace("−", "-").replace("^", "")
    return re.sub(r"[\s_\"'·]+", " ", text).strip()


def heading(text: str) -> Heading:
    """Return what the heading of a column states; "unknown" if nothing matches."""
    words = plain(text)
    quantity = _quantity(words)
    if quantity == "pressure" and _PERCENT.search(words):
        quantity = "relative"  # a partial pressure in per cent of saturation
    desorption = True if _DESORPTION.search(words) else None
    if desorption is None and _ADSORPTION.search(words):
        desorption = False
    rank = 2 if _MEASURED.search(words) else 0 if _NOMINAL.search(words) else 1
    return Heading(text, quantity, _unit(words, quantity), desorption, rank)


def _quantity(words: str) -> Quantity:
    for quantity, pattern in _QUANTITIES:
        if pattern.search(words):
            return quantity
    if _PRESSURE_UNIT.fullmatch(words.strip("()[]")):
        return "pressure"
    return "content" if _PER_MASS.search(words) else "unknown"


def is_unit(text: str) -> bool:
    """Return whether a cell holds nothing but a unit."""
    words = plain(text).strip("()[]")
    return words in ("-", "") or bool(
        _PERCENT.fullmatch(words) or _PRESSURE_UNIT.fullmatch(words) or _is_content_unit(words)
    )


def pressure_unit(text: str) -> str | None:
    """Return the unit of pressure that a text names."""
    match = _PRESSURE_UNIT.search(plain(text))
    if match is None:
        return None
    return next(unit for unit in PASCALS if unit.lower() == match.group().replace(" ", ""))


def branch_named(text: str) -> bool | None:
    """Return whether a cell or a line names the desorption branch; None if it names no branch."""
    words = re.sub(r"[^a-z ]", "", plain(text)).strip()
    match = re.fullmatch(
        r"(?P<name>ads|des|(ad|de)?sorption|(ad|de)sorp)"
        r"( (data|branch|isotherm|points))?", words
    )  # fmt: skip
    return match.group("name").startswith("d") if match else None


def _is_content_unit(words: str) -> bool:
    return _CONTENT_UNIT.fullmatch(words.strip("()[]")) is not None and words.strip("()[]") != "%"


def _unit(words: str, quantity: Quantity) -> str | None:
    if quantity == "relative":
        return "%" if _PERCENT.search(words) else "fraction" if _FRACTION.search(words) else None
    if quantity in ("pressure", "saturation"):
        return pressure_unit(words)
    if quantity == "content":
        if _FRACTION.search(words) or "filling" in words:
            return "fraction"
        match = _CONTENT_UNIT.search(words)
        return match.group().strip(" .-") if match else None
    return None
