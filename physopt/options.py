"""Options: frozen dataclasses whose fields a user sets, validated once, at construction.

Problems, update rules and the settings of a run are all `Options`. Their fields are what the
command line offers, what jit hashes and what config.json stores, so every value is first brought to
one canonical Python form: 1 given for a float becomes 1.0, a list becomes a tuple. Text is read by
the same annotations (`from_text`). Bounds are part of the annotation:

    size: Annotated[int, Bounds(2)] = 20
"""

import contextlib
import dataclasses
import difflib
import functools
import math
import numbers
import time
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Values allowed for a number: minimum <= value <= maximum, or minimum < value if `above`."""

    minimum: float = -math.inf
    maximum: float = math.inf
    above: bool = False

    def refuses(self, value: float) -> str | None:
        """Return what is wrong with a value, None if it is allowed."""
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

    Carries the class that has the option, the option's name, the value, the reason, and `key`, the
    option's name on the command line.
    """

    def __init__(self, owner: type, name: str, value: object, reason: str):
        super().__init__(f"{name}={value}: {reason}")
        self.owner, self.name, self.value, self.reason = owner, name, value, reason
        self.key = getattr(owner, "key_prefix", "") + name

    def __reduce__(self):
        return type(self), (self.owner, self.name, self.value, self.reason)


def suggest(word: str, known: Iterable[str]) -> str:
    """Return a hint at the known word nearest to a misspelled one, or a list of all known words."""
    known = sorted(known)
    nearest = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]}?" if nearest else f"known: {', '.join(known)}"


class Options:
    """Base of all option classes; a subclass is a frozen dataclass.

    Raises OptionError, a ValueError that names the option, for a value that does not fit its
    annotation.
    """

    key_prefix: ClassVar[str] = ""  # precedes an option's name on the command line
    defined_at: ClassVar[int] = 0  # ns since 1970: a file changed later holds other code

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.defined_at = time.time_ns()

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Refuse a class without the dataclass decorator, whose annotations are no fields."""
        fields = getattr(cls, "__dataclass_fields__", None)
        if fields is None or not set(vars(cls).get("__annotations__", ())) <= set(fields):
            raise TypeError(f"{cls.__name__} needs the decorator @dataclass(frozen=True)")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, hint in annotations(type(self)).items():
            value = getattr(self, name)
            try:
                canonical = _canonical(value, hint)
            except _Refused as refused:
                raise OptionError(type(self), name, value, str(refused)) from None
            object.__setattr__(self, name, canonical)

    def as_dict(self) -> dict[str, Any]:
        """Return {option: value}."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some options changed; the copy is validated."""
        return dataclasses.replace(self, **changes)


@functools.cache  # resolving the annotations takes longer than reading all values
def annotations(cls: type) -> dict[str, Any]:
    """Return {option: annotation} of a dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def from_text(cls: type[T], texts: Mapping[str, str], **defaults: Any) -> T:
    """Return an instance of an option class from {option: text}.

    `defaults` take the place of the class's own. A list is written [a,b] or a,b; None is none.
    Raises OptionError, with the nearest option or value, for what does not fit.
    """
    values = {**defaults, **read_texts(cls, texts)}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in values and field.default is field.default_factory is MISSING:
            raise OptionError(cls, field.name, "", "is required")
    return cls(**values)


def read_texts(cls: type, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return {option: value} from {option: text}; raise OptionError for what does not fit."""
    hints, values = annotations(cls), {}
    for name, text in texts.items():
        if name not in hints:
            raise OptionError(cls, name, text, f"unknown key; {suggest(name, hints)}")
        try:
            values[name] = _read(text, hints[name])
        except _Refused as refused:
            raise OptionError(cls, name, text, str(refused)) from None
    return values


def value_text(value: Any) -> str:
    """Return a value as it would be typed, the inverse of from_text."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(value)


def split_values(text: str) -> list[str]:
    """Split at the commas outside brackets: "1,2" -> 1 and 2; "[1,2],[3]" -> [1,2] and [3]."""
    values, depth = [""], 0
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == "," and depth == 0:
            values.append("")
        else:
            values[-1] += character
    return [value.strip() for value in values]


class _Refused(Exception):
    """Why a value does not fit; becomes an OptionError where class and option are known."""


def _read(text: str, hint: Any) -> Any:
    """Return the value that a text stands for under an annotation, in canonical form."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _canonical(_read(text, arguments[0]), hint)
    if origin in (Union, UnionType):
        return _read_union(text, arguments)
    if origin is Literal:
        return _read_choice(text, arguments)
    if origin is tuple:
        return _read_tuple(text, arguments)
    if hint is bool:
        return _boolean({"true": True, "false": False}.get(text.lower()))
    if hint in (int, float):
        return _canonical(_number(text, hint), hint)
    if hint in (str, Path):
        return hint(text)
    raise _Refused("cannot be given as text, only from Python")


def _read_union(text: str, hints: tuple[Any, ...]) -> Any:
    if NoneType in hints and text in ("none", "None"):
        return None
    if all(get_origin(hint) is Literal or hint is NoneType for hint in hints):
        return _read_choice(text, [value for hint in hints for value in get_args(hint) or (None,)])
    return _first_fit(text, hints, _read)


def _read_choice(text: str, choices: Iterable[Any]) -> Any:
    values = {value_text(choice): choice for choice in choices}
    if text not in values:
        raise _Refused(suggest(text, values))
    return values[text]


def _read_tuple(text: str, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1].strip()
    items = split_values(text) if text else []
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = hints[:1] * len(items)
    if len(items) != len(hints):
        raise _Refused(f"must have {len(hints)} entries")
    return tuple(map(_read, items, hints))


def _number(text: str, hint: type) -> float:
    for read in (int, float):
        with contextlib.suppress(ValueError):
            return read(text)
    raise _Refused("must be a whole number" if hint is int else "must be a finite number")


def _canonical(value: Any, hint: Any) -> Any:
    """Return a value in the canonical form of its annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = _canonical(value, arguments[0])
        for bounds in arguments[1:]:
            if isinstance(bounds, Bounds) and (reason := bounds.refuses(value)):
                raise _Refused(reason)
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return _first_fit(value, arguments, _canonical)
    if origin is Literal:
        if value not in arguments:
            raise _Refused(f"must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _canonical_tuple(value, arguments)
    if hint in _SCALARS:  # any other type is left as it is
        return _SCALARS[hint](value.item() if hasattr(value, "item") else value)
    return value


def _first_fit(value: Any, hints: tuple[Any, ...], convert: Callable[[Any, Any], Any]) -> Any:
    """Convert by the first member of a union that the value fits."""
    reasons = []
    for hint in hints:
        if hint is not NoneType:
            try:
                return convert(value, hint)
            except _Refused as refused:
                reasons.append(str(refused))
    raise _Refused(" or ".join([*reasons, *(["none"] if NoneType in hints else [])]))


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
