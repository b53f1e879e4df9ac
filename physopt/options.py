"""Options: frozen dataclasses whose fields a user sets, checked once, when they are made.

Problems, update rules and the settings of a run all are `Options`. Their fields are what the
command line offers, what jit hashes and what config.json stores, so every value is brought to one
canonical Python form first: 1 given for a float becomes 1.0, a list becomes a tuple. Bounds stand
in the annotation, where the reader and the command line's help find them:

    size: Annotated[int, Bounds(2)] = 20
"""

import dataclasses
import difflib
import math
import numbers
import time
import types
from collections.abc import Iterable
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Values allowed for a number: minimum <= value <= maximum, or minimum < value if `above`."""

    minimum: float = -math.inf
    maximum: float = math.inf
    above: bool = False

    def refuses(self, value: float) -> str | None:
        """Say what a value should be, or None where it is fine."""
        if self.above and not value > self.minimum:
            return f"must be greater than {_bound_text(self.minimum)}"
        if not value >= self.minimum:
            return f"must be at least {_bound_text(self.minimum)}"
        if not value <= self.maximum:
            return f"must be at most {_bound_text(self.maximum)}"
        return None


def _bound_text(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"  # 4294967295, not 4.29497e+09


PositiveInt = Annotated[int, Bounds(1)]
NonNegativeInt = Annotated[int, Bounds(0)]
PositiveFloat = Annotated[float, Bounds(0, above=True)]
NonNegativeFloat = Annotated[float, Bounds(0)]
UnitFloat = Annotated[float, Bounds(0, 1)]


class OptionError(ValueError):
    """A value that an option cannot take.

    Carries the class whose option it is, the option's name and the value, the reason in words, and
    `key`, under which the command line knows the option.
    """

    def __init__(self, owner: type, name: str, value: object, reason: str):
        super().__init__(f"{name}={value}: {reason}")
        self.owner, self.name, self.value, self.reason = owner, name, value, reason
        self.key = getattr(owner, "key_prefix", "") + name

    def __reduce__(self):
        return type(self), (self.owner, self.name, self.value, self.reason)


def suggest(word: str, known: Iterable[str]) -> str:
    """Say which known word is nearest to a misspelled one, or which there are."""
    known = sorted(known)
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"


class Options:
    """Base of all option classes; a subclass is a frozen dataclass.

    Raises OptionError, a ValueError that names the option, when a value does not fit its
    annotation.
    """

    key_prefix: ClassVar[str] = ""  # what stands before an option's name on the command line
    defined_at: ClassVar[int] = 0  # ns since 1970: a file changed later holds other code

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.defined_at = time.time_ns()

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Refuse a class whose annotations were never made into fields."""
        fields = getattr(cls, "__dataclass_fields__", None)
        if fields is None or not set(vars(cls).get("__annotations__", ())) <= set(fields):
            raise TypeError(f"{cls.__name__} needs the decorator @dataclass(frozen=True)")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                canonical = _canonical(value, hints[field.name])
            except _Refused as refused:
                raise OptionError(type(self), field.name, value, str(refused)) from None
            object.__setattr__(self, field.name, canonical)

    def as_dict(self) -> dict[str, Any]:
        """Return {option: value}."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some options changed, checked again."""
        return dataclasses.replace(self, **changes)


class _Refused(Exception):
    """Why a value does not fit; becomes an OptionError where owner and name are known."""


def _canonical(value: Any, hint: Any) -> Any:
    """Return `value` in the one form that its annotation stands for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = _canonical(value, arguments[0])
        for bounds in arguments[1:]:
            if isinstance(bounds, Bounds) and (reason := bounds.refuses(value)):
                raise _Refused(reason)
        return value
    if origin in (Union, types.UnionType):
        return _canonical_union(value, arguments)
    if origin is Literal:
        if value not in arguments:
            raise _Refused(f"must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _canonical_tuple(value, arguments)
    if hint in _SCALARS:
        return _SCALARS[hint](value.item() if hasattr(value, "item") else value)
    return value


def _canonical_union(value: Any, hints: tuple[Any, ...]) -> Any:
    if value is None and type(None) in hints:
        return None
    reasons = []
    for hint in hints:
        if hint is type(None):
            continue
        try:
            return _canonical(value, hint)
        except _Refused as refused:
            reasons.append(str(refused))
    none = " or none" if type(None) in hints else ""
    raise _Refused(" or ".join(reasons) + none)


def _canonical_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise _Refused("must be a list")
    values = tuple(value)
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(_canonical(v, hints[0]) for v in values)
    if len(values) != len(hints):
        raise _Refused(f"must have {len(hints)} entries")
    return tuple(_canonical(v, hint) for v, hint in zip(values, hints, strict=True))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _Refused("must be true or false")


def _integer(value: Any) -> int:
    real = _real(value)
    if not real.is_integer():
        raise _Refused("must be a whole number")
    return int(value)


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
        raise _Refused("must be a finite number")
    return float(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Refused("must be a word")
    return value


_SCALARS = {bool: _boolean, int: _integer, float: _real, str: _string, Path: Path}
