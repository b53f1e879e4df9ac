"""Options: frozen dataclasses whose fields a user sets, validated once, at construction.

Problems, update rules and the settings of a run are all `Options`. Their fields are what the
command line offers, what jit hashes and what config.json stores, so every value is first brought to
one canonical Python form: 1 given for a float becomes 1.0, a list becomes a tuple. Bounds are part
of the annotation:

    size: Annotated[int, Bounds(2)] = 20
"""

import contextlib
import dataclasses
import difflib
import functools
import math
import numbers
import os
import time
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Values allowed for a number: minimum <= value <= maximum.

    The minimum itself is excluded if `above`, the maximum if `below`.
    """

    minimum: float = -math.inf
    maximum: float = math.inf
    above: bool = False
    below: bool = False

    def refuses(self, value: float) -> str | None:
        """Return what is wrong with a value, None if it is allowed."""
        if self.above and not value > self.minimum:
            return f"must be greater than {_bound_text(self.minimum)}"
        if not value >= self.minimum:
            return f"must be at least {_bound_text(self.minimum)}"
        if self.below and not value < self.maximum:
            return f"must be less than {_bound_text(self.maximum)}"
        if not value <= self.maximum:
            return f"must be at most {_bound_text(self.maximum)}"
        return None


def _bound_text(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"  # 4294967295, not 4.29497e+09


LARGEST_INT = 2**31 - 1
"""Largest count: counters on a device have 32 bits."""

PositiveInt = Annotated[int, Bounds(1, LARGEST_INT)]
NonNegativeInt = Annotated[int, Bounds(0, LARGEST_INT)]
PositiveFloat = Annotated[float, Bounds(0, above=True)]
NonNegativeFloat = Annotated[float, Bounds(0)]
UnitFloat = Annotated[float, Bounds(0, 1)]
Decay = Annotated[float, Bounds(0, 1, below=True)]
"""Weight of the past in a running mean; with 1 it would never see the present."""


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
        """Refuse a class whose options are no fields, or can be changed."""
        if not is_frozen(cls):
            raise TypeError(f"{cls.__name__} needs the decorator @dataclass(frozen=True)")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, hint in annotations(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, canonical(value, hint))
            except DoesNotFit as reason:
                raise OptionError(type(self), name, value, str(reason)) from None

    @classmethod
    def class_for(cls, given: Mapping[str, Any]) -> type[Self]:
        """Return the class of an instance with these options: {name: value or text}.

        By default this class. Another one where an option decides which others there are.
        """
        return cls

    def as_dict(self) -> dict[str, Any]:
        """Return {option: value}."""
        return dataclasses.asdict(self)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some options changed; the copy is validated."""
        return dataclasses.replace(self, **changes)


@functools.cache  # resolving the annotations takes longer than reading all values
def is_frozen(cls: type) -> bool:
    """Return whether a class is a frozen dataclass, and its own annotations are fields."""
    fields = getattr(cls, "__dataclass_fields__", None)
    if fields is None or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return False
    return set(vars(cls).get("__annotations__", ())) <= set(fields)


def annotations(cls: type) -> dict[str, Any]:
    """Return {option: annotation} of a dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


class DoesNotFit(Exception):
    """Why a value does not fit; becomes an OptionError where class and option are known."""


def canonical(value: Any, hint: Any) -> Any:
    """Return a value in the canonical form of its annotation; raise DoesNotFit if it has none."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = canonical(value, arguments[0])
        for bounds in arguments[1:]:
            if isinstance(bounds, Bounds) and (reason := bounds.refuses(value)):
                raise DoesNotFit(reason)
        return value
    if origin in (Union, UnionType):
        if value is None and NoneType in arguments:
            return None
        return first_fit(value, arguments, canonical)
    if origin is Literal:
        if value not in arguments:
            raise DoesNotFit(f"must be one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        return _canonical_tuple(value, arguments)
    if hint in _SCALARS:  # any other type is left as it is
        return _SCALARS[hint](value.item() if hasattr(value, "item") else value)
    return value


def first_fit(value: Any, hints: tuple[Any, ...], convert: Callable[[Any, Any], Any]) -> Any:
    """Convert by the first member of a union that the value fits."""
    reasons = []
    for hint in hints:
        if hint is not NoneType:
            try:
                return convert(value, hint)
            except DoesNotFit as refused:
                reasons.append(str(refused))
    raise DoesNotFit(" or ".join([*reasons, *(["none"] if NoneType in hints else [])]))


def _canonical_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise DoesNotFit("must be a list")
    values = tuple(value)
    if len(hints) == 2 and hints[1] is Ellipsis:
        return tuple(canonical(v, hints[0]) for v in values)
    if len(values) != len(hints):
        raise DoesNotFit(f"must have {len(hints)} entries")
    return tuple(canonical(v, hint) for v, hint in zip(values, hints, strict=True))


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise DoesNotFit("must be true or false")


def _integer(value: Any) -> int:
    real = _real(value)
    if not real.is_integer():
        raise DoesNotFit("must be a whole number")
    if abs(value) >= 2**32:
        raise DoesNotFit(f"must be at most {2**32 - 1}")
    return int(value)


def _real(value: Any) -> float:
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer beyond the range of a float
            if math.isfinite(value):
                return float(value)
    raise DoesNotFit("must be a finite number")


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise DoesNotFit("must be a word")
    return value


def _path(value: Any) -> Path:
    if isinstance(value, str | os.PathLike):
        return Path(value)
    raise DoesNotFit("must be a path")


_SCALARS = {bool: _boolean, int: _integer, float: _real, str: _string, Path: _path}
